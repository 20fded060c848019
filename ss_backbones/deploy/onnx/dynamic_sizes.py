"""Which networks can be exported with open image sizes."""

from torch import nn

from ...errors import ExportError
from ...layers.attention import attention_layers
from ...networks import network_in


def check_dynamic(model: nn.Module) -> None:
    """Whether a network can be exported for all image sizes; its weights do not matter.

    Raises:
        ExportError: It can be exported at fixed sizes only.
    """
    if not getattr(network_in(model), 'dynamic_img_size', True):
        raise ExportError('dynamic_img_size=False makes a network for one image size; leave out --dynamic.')
    for attention in attention_layers(model):
        if attention.window_size is not None:
            raise ExportError(
                f'A network with attention in windows (window_size={attention.window_size}) can be exported for one '
                'image size only, because the number of windows goes with the size; leave out --dynamic.'
            )
        if not attention.has_exact_bypass:
            raise ExportError(
                f'attn_split={attention.token_bypass} is not the same share of all numbers of tokens in ONNX; take one '
                'such as 0.25, or leave out --dynamic.'
            )
