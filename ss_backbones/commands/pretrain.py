"""Trains a classifier."""

from collections.abc import Sequence

from .parsing import classifier_parser, launch_classifier


def main(argv: Sequence[str], program: str) -> None:
    """Train as the command line says.

    Raises:
        SystemExit: With code 75 after a checkpoint, where a signal asked for it.
        UserError: What the user can fix.
    """
    parser = classifier_parser(program, 'Train an image classifier, on ImageNet or on folders of images.')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision, on a GPU')
    parser.add_argument('--resume', action='store_true', help='go on from the newest checkpoint in the work dir')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    arguments = parser.parse_args(argv)
    try:
        with launch_classifier(arguments) as config:
            from ..classification.training import train

            train(config, amp=arguments.amp, resume=arguments.resume, validate=not arguments.no_validate)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('A training goes on from its last checkpoint with --resume') from None
