"""srun and scontrol as far as tools/slurm_train.sh needs them, for machines without Slurm."""

import os
import sys
from pathlib import Path

# Two tasks. As srun does it: SIGUSR1 goes to the tasks, SIGTERM kills them, the highest exit code is its own.
_SRUN = """#!{python}
import os, signal, subprocess, sys
start = next(i for i, word in enumerate(sys.argv) if i and not word.startswith('--'))
print('srun', *sys.argv[1:start], 'at', os.environ['MASTER_ADDR'] + ':' + os.environ['MASTER_PORT'], flush=True)
own = [dict(SLURM_PROCID=str(i), SLURM_LOCALID=str(i), SLURM_NTASKS='2') for i in range(2)]
tasks = [subprocess.Popen(sys.argv[start:], env=os.environ | variables) for variables in own]
signal.signal(signal.SIGUSR1, lambda number, frame: [task.send_signal(number) for task in tasks])
signal.signal(signal.SIGTERM, lambda number, frame: [task.kill() for task in tasks])
codes = [task.wait() for task in tasks]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""
_SCONTROL = """#!/bin/sh
case "$1 $2" in
    'show hostnames') printf '%s\\nnode2\\n' "${NODE:-node1}" ;;
    'show job') echo "JobId=$3 JobName=x"; echo "   JobState=${STATE:-RUNNING} Reason=None" ;;
    requeue*) echo "$*" >> "$REQUEUED" ;;
    *) exit 1 ;;
esac
"""


def slurm_environment(folder: Path) -> dict[str, str]:
    """The environment of a job with the stand-ins on its path; the file REQUEUED has a line for each requeue."""
    programs = folder / 'bin'
    programs.mkdir()
    for name, text in (('srun', _SRUN.format(python=sys.executable)), ('scontrol', _SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (folder / 'requeued').touch()
    return {
        'PATH': f'{programs}:{os.environ["PATH"]}',
        'SLURM_JOB_ID': '4711',
        'SLURM_JOB_NODELIST': 'node[1-2]',
        'REQUEUED': str(folder / 'requeued'),
    }
