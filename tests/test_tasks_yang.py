"""The 20-task suite against a NumPy loop over its description, rule by rule, and against its tables of times."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.tasks import Yang, weighted_squares

PER_RULE, TURN = 300, 2 * np.pi
RULES = [
    *("fdgo", "reactgo", "delaygo", "fdanti", "reactanti", "delayanti"),
    *("dm1", "dm2", "contextdm1", "contextdm2", "multidm"),
    *("delaydm1", "delaydm2", "contextdelaydm1", "contextdelaydm2", "multidelaydm"),
    *("dmsgo", "dmsnogo", "dmcgo", "dmcnogo"),
]
DELAY_SET, SHORT_SET = {200, 400, 800, 1600}, {200, 400, 600}


@jax.jit
def sample_all(task, keys):
    return jax.vmap(jax.vmap(task.sample, in_axes=(0, None)))(keys, jnp.arange(20))


@jax.jit
def truth_of_all(task, keys):
    return sample_all(task, keys).truth


def draw(program, task, n):
    """n trials of each rule, arrays of shape (20, n, ...)."""
    return jax.tree.map(np.asarray, program(task, jax.random.split(jax.random.key(5), (20, n))))


@pytest.fixture(scope="module")
def quiet():
    """12 trials of each rule without noise."""
    return draw(sample_all, Yang(noise=0.0), 12)


@pytest.fixture(scope="module")
def many():
    """The truth of 300 trials of each rule."""
    return draw(truth_of_all, Yang(), PER_RULE)


def one(trials, rule, i):
    return jax.tree.map(lambda leaf: leaf[RULES.index(rule), i], trials)


def ring(angle):
    return np.array([0.8 * np.exp(-0.5 * (abs((angle - TURN * i / 32 + np.pi) % TURN - np.pi) / (np.pi / 8)) ** 2)
                     for i in range(32)])  # fmt: skip


def expected(rule, truth, dt):
    """Inputs, targets, mask and answer of one trial, built step by step from what was drawn."""
    on, off, go, end = truth["on"], truth["off"], int(truth["go"]), int(truth["end"])
    places, strengths = truth["locations"], truth["strengths"]
    pairs = "dm" in rule
    if rule.endswith("anti"):
        answer = (places[0] + np.pi) % TURN
    elif not pairs:
        answer = places[0]
    elif rule.startswith("dmc"):
        same = (places[0] < np.pi) == (places[1] < np.pi)
        answer = places[1] if same == (rule == "dmcgo") else -1.0
    elif rule.startswith("dms"):
        same = abs(places[0] - places[1]) < 1e-5
        answer = places[1] if same == (rule == "dmsgo") else -1.0
    else:
        counted = strengths.sum(axis=1) if rule.startswith("multi") else strengths[:, int(rule[-1]) - 1]
        answer = places[0] if counted[0] > counted[1] else places[1]
    inputs, targets, mask = np.zeros((210, 85)), np.zeros((210, 33)), np.zeros(210)
    for t in range(end):
        keeps_cue = rule.startswith(("react", "dms", "dmc"))
        inputs[t, 0] = 1.0 if t < go or keeps_cue else 0.0
        for k in range(2):
            for r in range(2):
                if on[k] <= t < off[k]:
                    inputs[t, 1 + 32 * r : 33 + 32 * r] += strengths[k, r] * ring(places[k])
        inputs[t, 65 + RULES.index(rule)] = 1.0
        targets[t] = 0.05
        if t < go or answer < 0:
            targets[t, 0] = 0.8
        else:
            targets[t, 1:] += ring(answer)
        if int(100 / dt) <= t < go:
            mask[t] = 1.0
        if t >= go + int(100 / dt):
            mask[t] = 5.0
    return inputs, targets, mask, answer


@pytest.mark.parametrize("rule", RULES)
def test_a_trial_is_what_its_truth_says(quiet, rule):
    for i in range(12):
        trial = one(quiet, rule, i)
        inputs, targets, mask, answer = expected(rule, trial.truth, 20.0)
        np.testing.assert_allclose(trial.inputs, inputs, atol=2e-6)
        np.testing.assert_allclose(trial.targets, targets, atol=2e-6)
        np.testing.assert_array_equal(trial.mask, mask)
        assert trial.truth["response"] == pytest.approx(answer, abs=1e-5)
        assert trial.truth["rule"] == RULES.index(rule)


def test_shapes_and_weights(quiet):
    assert quiet.inputs.shape == (20, 12, 210, 85)
    assert quiet.targets.shape == (20, 12, 210, 33)
    assert set(np.unique(quiet.mask)) == {0.0, 1.0, 5.0}
    np.testing.assert_array_equal(quiet.channel_weights[3, 4], [2.0] + 32 * [1.0])


def durations(truth):
    """Milliseconds of the phases of all trials of a rule: to stimulus 1, its length, delay, stimulus 2, to go, end."""
    (on1, on2), (off1, off2), go, end = truth["on"].T, truth["off"].T, truth["go"], truth["end"]
    return [20 * x for x in (on1, off1 - on1, on2 - off1, off2 - on2, go - off2, end - go)], 20 * (go - on1)


def is_range(values, low, high):
    """Whole steps of 20 ms from [low, high) ms, and both ends are about reached."""
    assert low <= values.min() < low + 0.05 * (high - low) + 20
    assert high - 0.05 * (high - low) - 40 <= values.max() < high


@pytest.mark.parametrize("rule", RULES)
def test_times_reach_the_published_sets_and_ranges(many, rule):
    truth = jax.tree.map(lambda leaf: leaf[RULES.index(rule)], many)
    (first, one_long, delay, two_long, wait, response), to_go = durations(truth)
    assert set(response) == (SHORT_SET if rule.startswith("dmc") else {500})
    if rule.startswith("fd"):
        is_range(first, 300, 700)
        is_range(to_go, 500, 1500)
        np.testing.assert_array_equal(truth["off"][:, 0], truth["end"])
    elif rule.startswith("react"):
        is_range(first, 500, 2500)
        assert set(to_go) == {0}
        np.testing.assert_array_equal(truth["off"][:, 0], truth["end"])
    elif rule in ("delaygo", "delayanti"):
        assert set(first) == {300, 500, 700}
        assert set(one_long) == SHORT_SET
        assert set(to_go - one_long) == DELAY_SET
    elif rule.startswith(("dm1", "dm2")) or rule in ("contextdm1", "contextdm2", "multidm"):
        is_range(first, 100, 400)
        assert set(one_long) == {400, 800, 1600}
        np.testing.assert_array_equal(truth["on"][:, 1], truth["on"][:, 0])
        np.testing.assert_array_equal(truth["off"], np.stack([truth["go"]] * 2, axis=1))
    else:
        assert set(first) == SHORT_SET
        assert set(one_long) == SHORT_SET
        assert set(delay) == DELAY_SET
        if rule.startswith(("dms", "dmc")):
            np.testing.assert_array_equal(truth["on"][:, 1], truth["go"])
            np.testing.assert_array_equal(truth["off"][:, 1], truth["end"])
        else:
            assert set(two_long) == SHORT_SET
            is_range(wait, 100, 300)
    assert truth["end"].max() <= 210


@pytest.mark.parametrize("rule", RULES)
def test_places_and_strengths_follow_the_published_draws(many, rule):
    places, strengths = many["locations"][RULES.index(rule)], many["strengths"][RULES.index(rule)]
    apart = np.abs(places[:, 1] - places[:, 0])
    apart = np.minimum(apart, TURN - apart)
    if rule.startswith("dmc"):
        tenths = places / np.pi * 10
        assert set(np.round(tenths).astype(int).ravel()) == set(range(1, 20, 2))
        np.testing.assert_allclose(tenths, np.round(tenths), atol=1e-5)
    elif rule.startswith("dms"):
        same = apart < 1e-5
        assert 0.4 < same.mean() < 0.6
        assert np.pi / 9 <= apart[~same].min() < np.pi / 4
    if rule.startswith(("fd", "react", "delaygo", "delayanti")):
        assert not strengths[:, 1].any()
        assert set(strengths[:, 0].argmax(axis=1)) == {0, 1}
        np.testing.assert_array_equal(np.sort(strengths[:, 0], axis=1), np.tile([0.0, 1.0], (PER_RULE, 1)))
        is_circle(places[:, 0])
    elif rule.startswith(("dms", "dmc")):
        np.testing.assert_array_equal(np.sort(strengths, axis=2), np.tile([0.0, 1.0], (PER_RULE, 2, 1)))
        rings = strengths.argmax(axis=2)
        assert {tuple(pair) for pair in rings} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    else:
        is_circle(places[:, 0])
        assert np.pi / 2 - 1e-5 <= apart.min() < np.pi / 2 + 0.1
        sizes = {0.08, 0.16, 0.32} if "delay" in rule else {0.01, 0.02, 0.04, 0.08}
        for r in range(2):
            shown = strengths[:, :, r]
            if rule in ("dm1", "dm2", "delaydm1", "delaydm2") and r != int(rule[-1]) - 1:
                assert not shown.any()
            elif not rule.startswith("multi"):
                mean, half = shown.mean(axis=1), (shown[:, 0] - shown[:, 1]) / 2
                assert 0.8 <= mean.min() < 0.82
                assert 1.18 < mean.max() < 1.2 + 1e-6
                assert {round(float(c), 4) for c in np.abs(half)} == sizes
                assert 0.4 < (half > 0).mean() < 0.6
        if rule.startswith("multi"):
            whole = strengths.mean(axis=2)  # over rings
            assert {round(float(c), 4) for c in np.abs(whole[:, 0] - whole[:, 1]) / 2} == sizes
            share = (strengths[:, :, 0] - strengths[:, :, 1]) / whole
            assert 0.2 - 1e-5 <= np.abs(share).min() < 0.22
            assert 0.78 < np.abs(share).max() <= 0.8 + 1e-5
            assert {tuple(pair) for pair in share > 0} == {(False, False), (False, True), (True, False), (True, True)}


def is_circle(angles):
    assert 0 <= angles.min() < 0.15
    assert TURN - 0.15 < angles.max() <= TURN
    assert abs(np.mean(np.exp(1j * angles))) < 0.15  # 300 draws: the chance of more is 0.001


@pytest.mark.parametrize("pair", [("contextdm1", "contextdm2"), ("contextdelaydm1", "contextdelaydm2")])
def test_ignoring_the_context_gives_three_quarters(many, pair):
    """The sum over rings, and either ring alone, the best that one can do without the rule input."""
    right: dict[str, list] = {"sum": [], "first ring": []}
    for rule in pair:
        strengths, places, response = (many[name][RULES.index(rule)] for name in ("strengths", "locations", "response"))
        edge = {"sum": strengths.sum(axis=2), "first ring": strengths[:, :, 0]}
        for name, value in edge.items():
            gap = value[:, 0] - value[:, 1]
            right[name].append(np.where(np.abs(gap) < 1e-5, 0.5, (gap > 0) == (response == places[:, 0])))
    for name, parts in right.items():
        assert np.mean(parts) == pytest.approx(0.75, abs=0.05), name  # 600 trials: standard error 0.018


def test_each_time_is_cut_to_whole_steps_by_itself():
    """At dt 30 each of 200, 400, ... is cut before they are added: 6 + 13 steps, not 20."""
    truth = draw(truth_of_all, Yang(dt=30.0), 100)
    for rule in ("delaydm1", "dmsgo", "delaygo", "fdgo"):
        (on1, on2), (off1, off2) = truth["on"][RULES.index(rule)].T, truth["off"][RULES.index(rule)].T
        go, end = truth["go"][RULES.index(rule)], truth["end"][RULES.index(rule)]
        assert set(end - go) == {16}
        if rule != "fdgo":
            assert set(on1) == ({10, 16, 23} if rule == "delaygo" else {6, 13, 20})
            assert set(off1 - on1) == {6, 13, 20}
            assert set((go if rule == "delaygo" else on2) - off1) == {6, 13, 26, 53}
        if rule == "delaydm1":
            assert set(off2 - on2) == {6, 13, 20}


@pytest.mark.conformance
def test_rules_by_name_or_number_and_knobs_are_one_program(key, count_compilations):
    task, numbers = Yang(rules=("dm1", "dmcnogo")), jnp.arange(20)
    by_name = task.sample(key, "dmcnogo")
    with count_compilations() as count:
        by_number = task.sample(key, 19)
        easy = task.replace(coherences=(0.8, 0.8, 0.8, 0.8), noise=0.0).sample(key, "dm1")
    assert count.compilations == 0
    strengths = np.asarray(easy.truth["strengths"])
    assert abs(strengths[0, 0] - strengths[1, 0]) == pytest.approx(1.6, abs=1e-5)
    np.testing.assert_array_equal(by_name.inputs, by_number.inputs)
    assert by_name.inputs.dtype == by_name.targets.dtype == by_name.mask.dtype == jnp.result_type(float)
    assert by_name.inputs.shape == (170, 85)  # dmcnogo: 600 + 600 + 1600 + 600 ms
    other = jax.jit(task.sample)(key, numbers[2])  # traced: nothing raises
    assert np.isnan(other.inputs).all()
    assert not np.any(other.mask)


def test_noise_has_the_published_size_on_all_inputs(quiet):
    noisy = draw(sample_all, Yang(), 12)
    inside = np.arange(210) < quiet.truth["end"][..., None]
    noise = noisy.inputs - quiet.inputs
    np.testing.assert_array_equal(noisy.targets, quiet.targets)
    assert not noisy.inputs[~inside].any()
    np.testing.assert_allclose(np.std(noise[inside], axis=0), 0.01 * np.sqrt(10), rtol=0.05)  # 30,000 steps a channel
    assert np.max(np.abs(np.corrcoef(noise[inside].T) - np.eye(85))) < 0.03


def test_score_is_one_for_the_targets_and_none_for_a_flat_output(quiet):
    score = jax.jit(jax.vmap(jax.vmap(Yang().score)))
    targets = quiet.targets
    np.testing.assert_array_equal(score(quiet, targets), 1.0)
    np.testing.assert_array_equal(score(quiet, np.full_like(targets, 0.05)), 0.0)
    fixating = np.full_like(targets, 0.05)
    fixating[..., 0] = 0.8
    np.testing.assert_array_equal(score(quiet, fixating), quiet.truth["response"] < 0)
    # 5.6 units of the ring are 0.175 of a turn: a shift by 3 units is within 0.2 pi, by 4 is not
    shifts = {n: np.concatenate([targets[..., :1], np.roll(targets[..., 1:], n, axis=-1)], axis=-1) for n in (3, 4)}
    going = quiet.truth["response"] >= 0
    assert np.all(np.asarray(score(quiet, shifts[3]))[going] == 1)
    assert np.all(np.asarray(score(quiet, shifts[4]))[going] == 0)
    held = targets.copy()
    held[..., 0] = 0.8  # the right place while still fixating
    assert np.all(np.asarray(score(quiet, held))[going] == 0)


def test_loss_multiplies_the_error_by_the_mask_before_squaring(quiet):
    rng = np.random.default_rng(0)
    trial = one(quiet, "delaydm2", 7)
    outputs = rng.uniform(size=(210, 33))
    outputs[trial.mask == 0] = np.nan
    end, total = int(trial.truth["end"]), 0.0
    for t in range(end):
        for j in range(33):
            weight = trial.mask[t] * (2.0 if j == 0 else 1.0)
            total += (weight * (outputs[t, j] - trial.targets[t, j])) ** 2 if weight else 0.0
    assert weighted_squares(trial, jnp.asarray(outputs)) == pytest.approx(total / (end * 33), rel=1e-5)


def test_rules_are_drawn_by_weight():
    keys, draw_rules = jax.random.split(jax.random.key(1), 3000), jax.jit(lambda task, key: task.draw_rule(key))
    task, many = (
        Yang(rules=("contextdm1", "fdgo", "dm1"), rule_weights=(1.0, 1.0, 1.0)),
        jax.vmap(draw_rules, (None, 0)),
    )
    assert np.bincount(many(task, keys), minlength=20)[[8, 0, 6]] / 3000 == pytest.approx(1 / 3, abs=0.04)
    drawn = np.asarray(many(task.replace(rule_weights=(5.0, 0.0, 1.0)), keys))
    assert set(drawn) == {8, 6}
    assert np.mean(drawn == 8) == pytest.approx(5 / 6, abs=0.03)


KEY = jax.random.key(0)
BAD = {
    "seed": (lambda: Yang().sample(0), TypeError, r"key must be a typed key"),
    "unknown rule": (lambda: Yang(rules=("go",)).sample(KEY), ValueError, r"each of rules must be one of 'fdgo'"),
    "a list": (lambda: Yang(rules=["fdgo"]).sample(KEY), ValueError, r'rules must be "all" or a tuple'),
    "twice": (lambda: Yang(rules=("fdgo", "fdgo")).sample(KEY), ValueError, r"tuple of different names"),
    "rule not in set": (lambda: Yang(rules=("fdgo",)).sample(KEY, "dm1"), ValueError, r"rule must be one of 'fdgo'"),
    "rule number": (lambda: Yang(rules=("fdgo",)).sample(KEY, 6), ValueError, r"rule must be one of 0 \(fdgo\), got 6"),
    "many rules": (lambda: Yang().sample(KEY, np.arange(2)), ValueError, r"rule must be one name or number.*jax.vmap"),
    "short": (lambda: Yang(length=209).sample(KEY), ValueError, r"length must be at least 210.*got 209"),
    "coherence": (lambda: Yang(coherences=(0.9,)).sample(KEY), ValueError, r"coherences must be finite and in"),
    "no coherence": (lambda: Yang(coherences=()).sample(KEY), ValueError, r"coherences must be a sequence"),
    "noise": (lambda: Yang(noise=-1.0).sample(KEY), ValueError, r"noise must be finite and in"),
    "tau": (lambda: Yang(tau=0.0).sample(KEY), ValueError, r"tau must be finite and in"),
    "dt": (lambda: Yang(dt=150.0).sample(KEY), ValueError, r"dt must be finite and in"),
    "weights": (lambda: Yang(rule_weights=(1.0, 2.0)).draw_rule(KEY), ValueError, r"one for each of 20 rules"),
    "no weight": (lambda: Yang(rule_weights=0.0).draw_rule(KEY), ValueError, r"rule_weights must not all be zero"),
    "outputs": (lambda: Yang().score(SHAPES, jnp.zeros((3, 33))), ValueError, r"outputs must have the shape"),
}
SHAPES = jax.eval_shape(Yang().sample, KEY)


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
