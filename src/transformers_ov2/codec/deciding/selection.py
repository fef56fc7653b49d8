# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Step 3, block selection: scores or states of a group, and a budget, to the 2×2 blocks that become tokens.

`select_evidence` ranks blocks by score. `select_state` spends the budget where it most reduces the squared error
between the video and what the model was last shown at each place, which takes the principle of the method (pay for
change on top of state) literally.
"""

import math

import numpy as np


# LLM tokens that every distinct source frame costs in the prompt: `<12.3 seconds>` and the two vision markers.
TIMESTAMP_TOKENS = 10
# Rounds in which `select_state` shares out the cost of timestamps anew.
REFINEMENTS = 3
# The price of a token is searched for so many steps, or until no more than this share of the budget is left over; the
# rest goes to single blocks.
SEARCH_STEPS = 20
UNSPENT = 0.01


def _positions(mask: np.ndarray) -> np.ndarray:
    """Nonzero entries of `[n, bh, bw]` as int64 `[k, 3]` (frame, block row, block column), in that order."""
    return np.argwhere(mask).astype(np.int64)


def _allowed_frames(num_frames: int, anchor: int | None, bad) -> np.ndarray:
    allowed = np.ones(num_frames, dtype=bool)
    if bad is not None:
        allowed &= ~np.asarray(bad, dtype=bool)
    if anchor is not None:
        allowed[anchor] = False
    return allowed


def select_evidence(
    scores: np.ndarray,
    budget: int,
    *,
    crowding_penalty: float = 0.35,
    anchor: int | None = 0,
    bad: np.ndarray | None = None,
    max_frames: int | None = None,
) -> np.ndarray:
    """The `budget` blocks of highest score, with a penalty for crowding one frame.

    The block of rank r inside its frame (0 for the best) competes with `score / sqrt(1 + crowding_penalty · r)`. Ties
    go to the lowest (frame, row, column).

    Args:
        scores (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`): evidence per block, comparable across
            frames.
        budget (`int`): how many blocks to take; all allowed ones if there are fewer.
        crowding_penalty (`float`): λ of the penalty, 0 for plain top-K.
        anchor (`int`, *optional*): frame shown whole already, from which no block is taken.
        bad (`np.ndarray` of shape `(num_frames,)`, bool, *optional*): frames no block may be taken from.
        max_frames (`int`, *optional*): at most this many distinct frames, those whose blocks, all together or the best
            one alone, are furthest above the weakest that the budget would take.

    Returns:
        `np.ndarray` of shape `(k, 3)`, int64: (frame, block row, block column), sorted in that order.
    """
    n, rows, cols = scores.shape
    flat = scores.reshape(n, rows * cols).astype(np.float64)
    allowed = _allowed_frames(n, anchor, bad)
    order = np.argsort(-flat, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(rows * cols), order.shape), axis=1)
    adjusted = flat / np.sqrt(1.0 + crowding_penalty * rank)
    budget = min(budget, int(allowed.sum()) * rows * cols)
    if budget and max_frames is not None and allowed.sum() > max_frames:
        # By what they have over the weakest block that would be taken: half of the frames for all of their blocks
        # together (a cut to another scene), the others for their strongest one (a small event).
        weakest = np.partition(adjusted[allowed], -budget, axis=None)[-budget]
        excess = np.where(allowed[:, None], np.maximum(adjusted - weakest, 0.0), -1.0)
        value = excess.max(axis=1)
        value[np.argsort(-excess.sum(axis=1), kind="stable")[: (max_frames + 1) // 2]] = np.inf
        allowed[np.argsort(-value, kind="stable")[max_frames:]] = False
        budget = min(budget, max_frames * rows * cols)
    adjusted[~allowed] = -np.inf
    taken = np.zeros(adjusted.size, dtype=bool)
    taken[np.argsort(-adjusted.ravel(), kind="stable")[:budget]] = True
    return _positions(taken.reshape(n, rows, cols))


def _hold_costs(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cost of holding what one frame showed, for every pair of frames and every position.

    Args:
        features (`np.ndarray` of shape `(positions, num_frames, feature_dim)`, float32): state of each position.
        weights (`np.ndarray` of shape `(positions, num_frames)`, float32): weight of an error at each frame.

    Returns:
        `np.ndarray` of shape `(num_frames + 1, num_frames, positions)`, float32: `[j, i]` is the weighted squared
        error of showing frame i over the frames [i, j), for i ≤ j.
    """
    positions, n, _ = features.shape
    power = np.einsum("pnf,pnf->pn", features, features)
    error = power[:, :, None] + power[:, None, :]
    error -= 2.0 * (features @ features.transpose(0, 2, 1))
    np.maximum(error, 0.0, out=error)
    error *= weights[:, None, :]
    error *= np.triu(np.ones((n, n), dtype=np.float32))  # frames before i do not count
    costs = np.zeros((n + 1, n, positions), dtype=np.float32)
    np.cumsum(error.transpose(2, 1, 0), axis=0, out=costs[1:])
    return costs


def _cheapest_refreshes(costs: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Refresh times that minimise error plus price, exactly and for every position alone (dynamic programming).

    Args:
        costs (`np.ndarray` of shape `(num_frames + 1, num_frames, positions)`): of `_hold_costs`, for the anchor and
            the frames that may follow it.
        price (`np.ndarray` of shape `(num_frames,)`, float32): what a refresh at each frame costs.

    Returns:
        `np.ndarray` of shape `(num_frames, positions)`, bool: where a refresh happens. Every position shows frame 0
        first.
    """
    n, positions = costs.shape[1:]
    best = np.zeros((n, positions), dtype=np.float32)  # least cost up to a refresh at this frame
    previous = np.zeros((n + 1, positions), dtype=np.int64)
    column = np.arange(positions)
    for frame in range(1, n):
        total = best[:frame] + costs[frame, :frame]
        previous[frame] = total.argmin(axis=0)
        best[frame] = total[previous[frame], column] + price[frame]
    previous[n] = (best + costs[n]).argmin(axis=0)
    refresh = np.zeros((n, positions), dtype=bool)
    last = previous[n]
    while last.any():
        refresh[last, column] = True
        last = previous[last, column]
    refresh[0] = False
    return refresh


def _spend(
    costs: np.ndarray, share: np.ndarray, anchor: int, budget: int, low: float, high: float
) -> tuple[float, np.ndarray]:
    """Searches the price of a token, from `low` to `high` at first, at which the refreshes all but spend the budget.

    Args:
        share (`np.ndarray` of shape `(num_frames,)`): tokens that a refresh at each frame costs, `inf` where none may
            happen.

    Returns:
        The price and the refreshes, bool of shape `(num_frames, positions)`, at most `budget` of them.
    """
    frames = np.concatenate([[anchor], np.flatnonzero(np.isfinite(share))])
    share = share[frames].astype(np.float32)
    table = costs[np.append(frames, len(costs) - 1)[:, None], frames]
    best = None
    for _ in range(SEARCH_STEPS):
        price = math.sqrt(low * high)
        found = _cheapest_refreshes(table, np.float32(price) * share)
        spent = int(found.sum())
        if spent > budget:
            low = price
        else:
            high, best = price, found
            if spent >= (1 - UNSPENT) * budget:
                break
    while best is None:
        found = _cheapest_refreshes(table, np.float32(high) * share)
        if found.sum() <= budget:
            best = found
        else:
            high *= 2
    refresh = np.zeros(costs.shape[1:], dtype=bool)
    refresh[frames] = best
    return high, refresh


def _gains(costs: np.ndarray, refresh: np.ndarray, anchor: int) -> np.ndarray:
    """Error that each refresh removes, or would remove if it were added, all others staying.

    Returns:
        `np.ndarray` of shape `(num_frames, positions)`, float32.
    """
    n, positions = refresh.shape
    index, column = np.arange(n)[:, None], np.arange(positions)[None]
    # The frame shown just before each one, and the refresh that ends what is shown from it on.
    shown = np.where(refresh, index, anchor)
    shown[: anchor + 1] = anchor
    start = np.maximum.accumulate(shown, axis=0)
    start = np.concatenate([start[:1], start[:-1]])
    end = np.minimum.accumulate(np.where(refresh, index, n)[::-1], axis=0)[::-1]
    end = np.concatenate([end[1:], np.full((1, positions), n)])
    return costs[end, start, column] - costs[index, start, column] - costs[end, index, column]


def _fill(costs: np.ndarray, refresh: np.ndarray, allowed: np.ndarray, anchor: int, budget: int) -> None:
    """Adds refreshes to `refresh` in place, the one that removes most error first, until there are `budget`."""
    column = np.arange(refresh.shape[1])
    while (missing := budget - int(refresh.sum())) > 0:
        gain = np.where(allowed[:, None] & ~refresh, _gains(costs, refresh, anchor), -np.inf)
        # A second refresh of one position changes the gain of the first: one for each position and round.
        best = gain.argmax(axis=0)
        value = gain[best, column]
        order = np.argsort(-value, kind="stable")[:missing]
        order = order[np.isfinite(value[order])]
        refresh[best[order], order] = True


def select_state(
    features: np.ndarray,
    budget: int,
    *,
    weights: np.ndarray | None = None,
    anchor: int = 0,
    bad: np.ndarray | None = None,
    max_frames: int | None = None,
    text_tokens: int = TIMESTAMP_TOKENS,
) -> np.ndarray:
    """The blocks whose refresh removes most squared error between the video and what the model was last shown.

    Every position starts from the anchor and holds each block until its next one. For one price per token, dynamic
    programming over the refresh times of a position gives its least error plus price; the price at which all positions
    together spend the budget lies on the lower convex hulls of their error curves, so this is the optimal way to spend
    it. A source frame costs a timestamp as well, which its blocks share: frames that few blocks ask for are given up.

    Args:
        features (`np.ndarray` of shape `(num_frames, block_rows, block_cols, feature_dim)`): what each block shows.
        budget (`int`): how many blocks to take; all allowed ones if there are fewer.
        weights (`np.ndarray`, broadcastable to `(num_frames, block_rows, block_cols)`, *optional*): weight of an
            error, such as the seconds a frame stands for, or its evidence.
        anchor (`int`): frame shown whole already; no block comes from it or from earlier frames.
        bad (`np.ndarray` of shape `(num_frames,)`, bool, *optional*): frames no block may be taken from.
        max_frames (`int`, *optional*): at most this many distinct frames.
        text_tokens (`int`): tokens of the timestamp that a source frame opens.

    Returns:
        `np.ndarray` of shape `(k, 3)`, int64: (frame, block row, block column), sorted in that order.
    """
    n, rows, cols, dim = features.shape
    allowed = _allowed_frames(n, anchor, bad)
    allowed[:anchor] = False
    budget = min(budget, int(allowed.sum()) * rows * cols)
    if budget <= 0:
        return np.zeros((0, 3), dtype=np.int64)
    weight = np.ones((n, rows, cols), dtype=np.float32)
    if weights is not None:
        weight = weight * np.asarray(weights, dtype=np.float32)
    if bad is not None:
        weight[np.asarray(bad, dtype=bool)] = 0.0  # nothing may show them, so they say nothing about any choice
    states = features.reshape(n, rows * cols, dim).transpose(1, 0, 2).astype(np.float32)
    states = states - states.mean(axis=1, keepdims=True)  # errors are differences: keeps float32 exact enough
    costs = _hold_costs(states, np.ascontiguousarray(weight.reshape(n, -1).T))

    usual = budget / max(1, int(allowed.sum()) // 2)
    share = np.where(allowed, 1.0 + text_tokens / usual, np.inf)  # tokens of a block and its part of the timestamp
    high = float(costs[n, anchor].max()) + 1e-6
    low = 1e-9 * high
    for _ in range(REFINEMENTS):
        price, refresh = _spend(costs, share, anchor, budget, low, high)
        low, high = 0.5 * price, 2.0 * price
        taken = refresh.sum(axis=1)
        opened = taken > 0
        if max_frames is not None and opened.sum() > max_frames:
            gain = np.where(refresh, _gains(costs, refresh, anchor), 0.0).sum(axis=1)
            opened[np.argsort(-gain, kind="stable")[max_frames:]] = False
        if not opened.any():
            break
        share = np.where(opened, 1.0 + text_tokens / np.maximum(taken, 1), np.inf)
    # The frames that stayed open take what is left of the budget, or all frames where they do not hold it.
    refresh[~opened] = False
    if opened.sum() * rows * cols < budget:
        most = allowed.sum() if max_frames is None else max_frames
        opened |= allowed & (np.cumsum(allowed & ~opened) <= most - opened.sum())
        budget = min(budget, int(opened.sum()) * rows * cols)
    _fill(costs, refresh, opened, anchor, budget)
    return _positions(refresh.reshape(n, rows, cols))


def error_weights(surprise: np.ndarray) -> np.ndarray:
    """How much more than elsewhere an error matters to `select_state` where something stands out.

    Squared error alone is blind to small events that camera motion, noise or fades drown. The weight is relative to
    the group's average surprise, so that the few blocks of such an event count hundreds of times, and the many that
    stand out where everything moves only a few times.

    Args:
        surprise (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`): of `Evidence`.

    Returns:
        float32 `np.ndarray` of the same shape, at least 1.
    """
    return 1 + surprise / (surprise.mean() + np.float32(1e-3))
