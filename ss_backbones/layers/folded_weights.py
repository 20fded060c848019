"""What keeps the weights of folded models apart from all others."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from ..errors import CheckpointError

MARK = 'folded'  # the name of a buffer that every folded block has, in its state dict as well


def check_folding(theirs: Collection[str], ours: Collection[str], source: str) -> None:
    """Whether every block that is in both is folded in both, or in neither.

    Args:
        theirs: The keys of the weights, with this package's names.
        ours: The keys of the model.
        source: Where the weights came from.

    Raises:
        CheckpointError: A block is folded in one of them alone.
    """
    for mark in {key for key in (*theirs, *ours) if key.split('.')[-1] == MARK}:
        block = mark.removesuffix(MARK)
        folded = mark in theirs
        if folded == (mark in ours) or not all(any(key.startswith(block) for key in keys) for keys in (theirs, ours)):
            continue
        if folded:
            raise CheckpointError(
                f'{source} is of a folded model, and this model is not folded. Load it into ss_backbones.fold(model), '
                'or take the checkpoint from before folding. Nothing was loaded into the blocks.'
            )
        raise CheckpointError(
            f'{source} is not of a folded model, and this model is folded. Load it into the model before folding that. '
            'Nothing was loaded into the blocks.'
        )


def refuse_other_folding(module: nn.Module, state_dict: Mapping[str, Tensor], prefix: str, *_: object) -> None:
    """A hook before a block's weights are loaded, by whatever loader, strict or not.

    Raises:
        CheckpointError: The block is folded and the weights are not, or the other way round.
    """
    inside = [key for key in state_dict if key.startswith(prefix)]
    check_folding(inside, [prefix + key for key in module.state_dict()], 'The checkpoint')
