"""Learning without labels: an encoder from pictures or sound alone, which `train --init` then starts from."""
