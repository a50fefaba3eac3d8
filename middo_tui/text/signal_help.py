"""What each signal means, and when it is unreliable: for the help page."""

from __future__ import annotations

SIGNALS: tuple[tuple[str, str, str], ...] = (
    (
        "base loss",
        "Loss of the answer under the base model, before training. High: hard, unusual or wrong.",
        "Unreliable for answers of a few words and for facts that the base model cannot know.",
    ),
    (
        "tuned loss",
        "The same after this round's training. Still high: not learned, or against the other samples.",
        "Unreliable after several epochs: the model has learned the sample by heart, mistakes included.",
    ),
    (
        "similarity",
        "Mean cosine similarity to the nearest prompts. Low: nothing like it is in the dataset.",
        "Unreliable for prompts that differ in one number or name: they look alike but are not.",
    ),
    (
        "quality",
        "Mean of the judge's six ratings, 0 to 9.",
        "Unreliable if the judge cannot tell good from bad (see the Loop screen), and for differences below one point.",
    ),
    (
        "flaw",
        "Rank by the lenses: 0.98 means that 98 % of the samples look better.",
        "Unreliable on clean data: a rank always has an upper end, so the worst sample need not be flawed.",
    ),
    (
        "end of turn",
        "Lens: loss of the token that ends the answer. High: it stops before it is complete.",
        "Unreliable for lists and tables, which may end anywhere.",
    ),
    (
        "IFD",
        "Lens: how little the prompt helps to predict the answer. Near 1: it answers something else.",
        "Unreliable for prompts so vague that they explain no answer.",
    ),
    (
        "worst window",
        "Lens: the most unlikely 16 tokens in a row. High: shuffled words, scaffolding.",
        "Unreliable for foreign names, code and quotations.",
    ),
    (
        "cluster",
        "Samples with similar prompts (HDBSCAN on the embeddings); outlier: how far from its own.",
        "Unreliable on small datasets, where most samples are in no cluster.",
    ),
    (
        "map",
        "The embeddings' two directions of most variance (PCA), those of the first round in every round.",
        "Hides the other directions (its first line says how much it shows): what lies together need not be alike.",
    ),
    (
        "≠ drifted",
        "The new answer is no likelier after the original's prompt than after a random one.",
        "Its absence proves little: about half of the rewrites that drift are found.",
    ),
    (
        "▲ ▼ ≈",
        "A score's change against its standard error: beyond two errors, or within chance.",
        "Take a single run with care: the error leaves out what another training seed would change.",
    ),
)
"""Name, meaning, and when it is unreliable."""
