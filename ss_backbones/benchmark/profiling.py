"""What a step's time goes to, by kernel."""

from torch.profiler import ProfilerActivity, profile

from .candidates import Candidate
from .plan import Plan, Shape
from .steps import WARM_UP, make_step

ROWS = 30
STEPS = 3


def profile_by_kernel(candidate: Candidate, shape: Shape, plan: Plan) -> str:
    """The kernels (on a CPU the operators) that took longest in a few steps: a table of torch's profiler.

    Args:
        candidate: What is run.
        shape: Of the input.
        plan: How it is run.
    """
    _, run = make_step(candidate, shape, plan)
    for _ in range(WARM_UP):
        run()
    plan.wait()
    activities = [ProfilerActivity.CPU]
    if plan.device == 'cuda':
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for _ in range(STEPS):
            run()
        plan.wait()
    averages = profiler.key_averages()
    column = 'self_cpu_time_total'
    if plan.device == 'cuda':  # torch 2.1 has another name for it
        column = next(name for name in ('self_device_time_total', 'self_cuda_time_total') if hasattr(averages[0], name))
    table = averages.table(sort_by=column, row_limit=ROWS, max_name_column_width=70)
    return f'{candidate.name}, {shape}, {STEPS} steps: {plan}\n{table}\n'
