"""What leaves a project: cards, the model, and a push to the Hugging Face Hub.

Cards are pure text over facts that ``dataset_card`` and ``model_card`` collect; names and texts are escaped first.
``push_to_hub`` is the only place where a dataset leaves the machine; a teacher's endpoint is where single texts do.
"""
