"""How wide an attention head is under SS."""

from ..settings import BlockSetting


def head_width(dim: int, num_heads: int, setting: BlockSetting) -> int:
    """Channels of query, key and value in one head.

    Raises:
        ValueError: The heads would get no channel.
    """
    width = int(dim // num_heads * setting.attn_ratio)
    if width < 1:
        raise ValueError(
            f'attn_ratio={setting.attn_ratio} leaves a head of {dim // num_heads} channels with none; '
            'take a larger attn_ratio.'
        )
    return width
