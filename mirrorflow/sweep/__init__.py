"""`python -m mirrorflow.sweep [STUDY] [flags]`: the experiments, from configuration to figure."""
