import pandas as pd

from overparam.measure import shortest_code


def test_the_shortest_code_that_keeps_enough_of_its_own_exact_model():
    codes = pd.DataFrame(
        [
            # seed, rate, bits, accuracy, bits of the code
            (0, 0.1, 32, 0.90, 900),
            (0, 0.1, 8, 0.892, 300),  # 0.99 * 0.90 = 0.891
            (0, 0.1, 4, 0.890, 200),
            (0, 0.3, 32, 0.50, 950),
            (0, 0.3, 4, 0.50, 250),  # a poor model, but its code loses nothing of it
            (1, 0.1, 32, 0.80, 700),
            (1, 0.1, 8, 0.10, 100),
        ],
        columns=["seed", "lr", "bits", "acc", "mdl_bits"],
    )
    assert shortest_code(codes, "acc").to_dict() == {0: 250, 1: 700}
    assert shortest_code(codes, "acc", keep=0.1).to_dict() == {0: 200, 1: 100}


def test_a_seed_without_its_exact_model_has_no_code():
    codes = pd.DataFrame({"seed": 0, "lr": 0.1, "bits": [8], "acc": 0.9, "mdl_bits": 300})
    assert shortest_code(codes, "acc").empty
