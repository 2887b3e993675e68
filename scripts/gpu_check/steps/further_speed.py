"""Time the trainings that `speed` leaves out."""

from process import Outcome, Step
from steps import speed


def run(step: Step) -> Outcome:
    return speed.time_all(step, speed.further_turns())
