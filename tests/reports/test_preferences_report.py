"""What is told of a run on pairs: how often the better answer wins, and when both become unlikely."""

from arabic_llm.reports import preferences


def step(number: int, chosen: float, rejected: float) -> dict[str, float]:
    return {
        "step": number,
        "loss": 0.5,
        "log_prob_chosen": chosen,
        "log_prob_rejected": rejected,
        "reward_chosen": chosen + 9,
        "reward_rejected": rejected + 9,
        "reward_margin": chosen - rejected,
        "reward_accuracy": 0.5,
    }


def dev(number: int, margin: float, accuracy: float) -> dict[str, float]:
    return {"step": number, "dev_loss": 0.6, "dev_reward_margin": margin, "dev_reward_accuracy": accuracy}


def test_how_often_the_better_answer_wins_is_told_before_and_after():
    said = preferences.lines([dev(0, 0.0, 0.5), step(1, -9, -9), step(2, -8, -12), dev(2, 4.0, 0.93)])
    assert said == [
        "on dev the better answer has the higher reward in 93% of the pairs (50% at step 0), by +4.00"
        " (+0.00)"
    ]


def test_both_answers_less_likely_is_remarked_on_and_one_is_not():
    falls = preferences.lines([step(1, -9, -9), step(2, -10, -14)])
    assert falls[0].startswith(
        "both answers became less likely: the better -9.0 -> -10.0 nats, the worse -9.0"
    )
    assert preferences.lines([step(1, -9, -9), step(2, -8, -14)]) == []


def test_a_run_on_rows_has_no_such_lines():
    assert preferences.lines([{"step": 1, "loss": 2.0}]) == []


def test_the_figure_has_lines_of_training_and_points_of_dev():
    drawn = preferences.curves([dev(0, 0.0, 0.5), step(1, -9, -9), step(2, -8, -12), dev(2, 4.0, 0.93)])
    assert drawn.startswith("<svg")
    assert drawn.count("<use") > preferences.curves([step(1, -9, -9), step(2, -8, -12)]).count("<use")
