"""Evidence bundles: what anybody needs to judge a task again (protocol, "Evidence bundle")."""
