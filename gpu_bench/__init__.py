"""The vision benchmark of PILoT: real images, real networks, seven baselines."""
