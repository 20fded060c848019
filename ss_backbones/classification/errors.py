"""What is wrong with the data."""

from ..errors import DataError


def check_class(target: int, classes: int, name: str) -> int:
    """The class of an image, if the head has it.

    Raises:
        DataError: It has not; without this it would be an index error, on a GPU one without a place.
    """
    if not 0 <= target < classes:
        raise DataError(
            f'{name} is of class {target}, and the head has {classes}: 0 to {classes - 1}. Give as many classes as the '
            'data have, --cfg-options model.backbone.num_classes=N, or fix the labels.'
        )
    return target
