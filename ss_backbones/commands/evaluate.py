"""Evaluates a classifier's checkpoint."""

from collections.abc import Sequence

from .parsing import classifier_parser, launch_classifier


def main(argv: Sequence[str], program: str) -> None:
    """Evaluate as the command line says, and print the accuracies.

    Raises:
        UserError: What the user can fix.
    """
    parser = classifier_parser(program, 'Evaluate a checkpoint of an image classifier.')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='of any layout that ss_backbones reads')
    parser.add_argument('--split', metavar='NAME', help='which part of the data (default: the config says, val)')
    parser.add_argument('--raw', action='store_true', help='the raw weights, where the checkpoint has an average too')
    arguments = parser.parse_args(argv)
    with launch_classifier(arguments) as config:
        from ..classification.evaluation import evaluate

        metrics = evaluate(config, arguments.checkpoint, split=arguments.split, raw=arguments.raw)
    if metrics is not None:
        print('  '.join(f'{name} {value:.3f}' for name, value in metrics.items()))
