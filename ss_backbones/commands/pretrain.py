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
    parser.add_argument('--dry-run', action='store_true', help='build everything, make one step, write nothing')
    arguments = parser.parse_args(argv)
    work_dir = ''
    try:
        with launch_classifier(arguments) as config:
            from ..classification.training import train

            work_dir = config.work_dir
            train(
                config,
                amp=arguments.amp,
                resume=arguments.resume,
                validate=not arguments.no_validate,
                dry_run=arguments.dry_run,
            )
    except KeyboardInterrupt:
        from ..training.resume import how_to_go_on

        raise KeyboardInterrupt(how_to_go_on(work_dir) if work_dir and not arguments.dry_run else '') from None
