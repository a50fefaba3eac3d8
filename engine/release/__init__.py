"""What leaves a project: cards, the model, and a push to the Hugging Face Hub."""
