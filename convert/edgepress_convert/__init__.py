"""From a trained model to a proven bundle: quantization, verification, bundles, evaluation, reports, the command."""
