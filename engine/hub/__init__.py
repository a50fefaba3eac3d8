"""What is fetched from a hub: datasets as input, and models.

``names`` is how datasets are written; ``fetch`` starts the process that fetches and hears how far it is: both light,
as the app is. The process (``download``) asks huggingface_hub for the files, of which ``layout`` says by the rules of
``datasets`` which ones a configuration's split has. The files stay in huggingface_hub's cache and are read like any
others. ``progress_log`` is what a stage logs while its model comes, ``errors`` why something cannot be had. No code
of a hub is ever run. The token is huggingface_hub's own business (``HF_TOKEN`` or its login).
"""
