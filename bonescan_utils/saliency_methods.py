"""Names of the saliency methods, for what must not load TensorFlow; `saliency` says what each is."""

SALIENCY_METHODS = (
    "gradcam", "gradcam++", "layercam", "focused_gradcam", "scorecam", "integrated_gradients", "smoothgrad",
)  # fmt: skip
DEFAULT_METHOD = "focused_gradcam"
"""How saliency maps are made unless said otherwise."""
