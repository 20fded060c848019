"""Trains a classifier."""

from collections.abc import Sequence

from .parsing import add_training_options, classifier_parser, train_classifier


def main(argv: Sequence[str], program: str) -> None:
    """Train as the command line says.

    Raises:
        SystemExit: With code 75 after a checkpoint, where a signal asked for it.
        UserError: What the user can fix.
    """
    parser = classifier_parser(program, 'Train an image classifier, on ImageNet or on folders of images.')
    add_training_options(parser)
    train_classifier(parser.parse_args(argv))
