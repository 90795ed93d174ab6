"""Examples and labels: where they come from, how they are split, decoded, augmented and batched."""
