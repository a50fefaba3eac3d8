"""What the models say of a sample: losses, embeddings, neighbors, clusters, ratings."""
