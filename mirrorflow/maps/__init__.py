"""Mirror maps: what is trained, x = g(θ), and the potential that it induces; one file each."""
