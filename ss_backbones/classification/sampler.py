"""The order in which the images of an epoch are drawn."""

from collections.abc import Iterator, Sized
from itertools import islice

from mmengine.dataset import DefaultSampler
from mmengine.dist import get_dist_info
from timm.data.distributed_sampler import RepeatAugSampler
from torch.utils.data import Sampler

from ..networks.arguments import check_count
from ..registry import DATA_SAMPLERS
from ..training.seeds import Draw, seed_of


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Draws the images of an epoch for this process, each with a seed; an epoch can be entered at any place.

    Args:
        dataset: What is drawn from.
        seed: Seed of the order and of the augmentations, the same in all processes.
        repeats: How often an image comes in a row, each time augmented anew and with several processes in another one
            (repeated augmentation, as in DeiT); an epoch has as many images as without, of fewer different ones.

    Attributes:
        seed: As above; may be set between epochs.
        start: How many draws of the next epoch are left out, because an earlier run has made them.

    Raises:
        ValueError: ``repeats`` is no whole number of at least 1.
    """

    def __init__(self, dataset: Sized, seed: int, repeats: int = 1) -> None:
        check_count('repeats', repeats)
        self.rank, self.world_size = get_dist_info()
        self.seed = seed
        self.start = 0
        self._epoch = 0
        if repeats > 1:
            self._order = RepeatAugSampler(dataset, self.world_size, self.rank, num_repeats=repeats, selected_round=0)
        else:
            self._order = DefaultSampler(dataset, shuffle=True, seed=0)

    def __len__(self) -> int:
        """Draws of a whole epoch in this process."""
        return len(self._order)

    def __iter__(self) -> Iterator[Draw]:
        # timm's order knows an epoch and no seed, so both go into the one number
        self._order.set_epoch(seed_of(self.seed, self._epoch))
        for place, index in enumerate(islice(self._order, self.start, None), self.start):
            # the place among all processes, so that the number of processes does not matter
            yield Draw(int(index), seed_of(self.seed, self._epoch, place * self.world_size + self.rank))

    def set_epoch(self, epoch: int) -> None:
        """Draw in the order of this epoch from now on; mmengine's DistSamplerSeedHook calls it."""
        self._epoch = epoch
