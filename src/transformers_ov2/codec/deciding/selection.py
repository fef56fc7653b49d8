# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Step 3, block selection: scores or states of a group, and a budget, to the 2×2 blocks that become tokens.

`select_evidence` ranks blocks by score. `select_state` spends the budget where it most reduces the squared error
between the video and what the model was last shown at each place, which takes the principle of the method (pay for
change on top of state) literally.
"""

import itertools
import math

import numpy as np


# LLM tokens that every distinct source frame costs in the prompt: `<12.3 seconds>` and the two vision markers.
TIMESTAMP_TOKENS = 10
# Share of the budget that `select_state` may leave over in each of its rounds; what is left in the end goes to single
# blocks. The first round only tells which frames are worth a timestamp.
UNSPENT = (0.1, 0.05, 0.01)
# An error counts so many times more in a block of so much surprise. Of 384 events of 24 development scenes in which
# much moves 1000 finds 350 at 8 canvases, 300 finds 342 and 3000 finds 346; rebuilding real clips loses 0.01 dB by it.
SURPRISE_WEIGHT, FULL_SURPRISE = 1000.0, 1.25
# The price of a token is searched for so many steps at most.
SEARCH_STEPS = 12
# Entries (float32) of the table of costs at most: of more frames, those that change most can be shown.
TABLE_ENTRIES = 2**23
# Positions that the table is filled for at once: intermediate results stay in the cache.
BAND_POSITIONS = 64
# Largest matrix product, in multiplications, that OpenBLAS computes in the caller's thread. Threads of its own would
# wait, at full load, for a core that a decoder has.
BAND_PRODUCTS = 2**18


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


def _strongest_frames(values: np.ndarray, count: int) -> np.ndarray:
    """The `count` frames of `[n, positions]` to keep: half for all of their blocks together (a cut to another scene),
    the others for their strongest one (a small event)."""
    strength = values.max(axis=1)
    strength[np.argsort(-values.sum(axis=1), kind="stable")[: (count + 1) // 2]] = np.inf
    kept = np.zeros(len(values), dtype=bool)
    kept[np.argsort(-strength, kind="stable")[:count]] = True
    return kept


def _opened_frames(gains: np.ndarray, count: int, events: np.ndarray) -> np.ndarray:
    """
    The frames that `select_state` keeps: half for all of their blocks together, the others for one event, as long as
    there are any.

    An event that gains v at a position where events of kept frames gain S counts v² / (v + S), so that where a limb
    swings to and fro one more frame of it comes after what is seen nowhere else.

    Args:
        gains (`np.ndarray` of shape `(num_frames, positions)`): error that each refresh removes, 0 for none.
        count (`int`): how many frames.
        events (`np.ndarray` of the same shape, bool): where something stands out.

    Returns:
        bool `np.ndarray` of shape `(num_frames,)`.
    """
    order = np.argsort(-gains.sum(axis=1), kind="stable")
    kept = np.zeros(len(gains), dtype=bool)
    kept[order[: (count + 1) // 2]] = True
    values = np.maximum(gains * events, 0.0, dtype=np.float64)
    seen = values[kept].sum(axis=0) + 1e-30  # where nothing gains anything, 0 and not 0 / 0
    strength = np.where(kept, 0.0, values.max(axis=1))
    for _ in range(count - int(kept.sum())):
        # A strength can but fall: the greatest one, once it is up to date, is the next.
        while (now := (values[at := int(strength.argmax())] ** 2 / (values[at] + seen)).max()) < strength[at]:
            strength[at] = now
        if not strength[at]:
            break
        kept[at], strength[at] = True, 0.0
        seen += values[at]
    kept[order[~kept[order]][: count - int(kept.sum())]] = True
    return kept


def select_evidence(
    scores: np.ndarray,
    budget: int,
    *,
    crowding_penalty: float = 0.0,
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
        # By what they have over the weakest block that would be taken.
        weakest = np.partition(adjusted[allowed], -budget, axis=None)[-budget]
        excess = np.where(allowed[:, None], np.maximum(adjusted - weakest, 0.0), -1.0)
        allowed = _strongest_frames(excess, max_frames)
        budget = min(budget, max_frames * rows * cols)
    adjusted[~allowed] = -np.inf
    taken = np.zeros(adjusted.size, dtype=bool)
    taken[np.argsort(-adjusted.ravel(), kind="stable")[:budget]] = True
    return _positions(taken.reshape(n, rows, cols))


def _hold_costs(states: np.ndarray, weights: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Cost of holding what one candidate showed until another one, for every pair of them and every position.

    Args:
        states (`np.ndarray` of shape `(positions, num_frames, feature_dim)`, float32): what each position shows.
        weights (`np.ndarray` of shape `(positions, num_frames)`, float32): weight of an error at each frame.
        candidates (`np.ndarray` of shape `(num_candidates,)`, int64): ascending frames, frame 0 among them.

    Returns:
        `np.ndarray` of shape `(num_candidates + 1, positions, num_candidates)`, float32: `[j, p, i]` is the weighted
        squared error of showing candidate i until candidate j comes (until the end for the last j), for i ≤ j.
    """
    positions, n, dim = states.shape
    count = len(candidates)
    costs = np.zeros((count + 1, positions, count), dtype=np.float32)
    ends = np.append(candidates[1:], n)
    step = max(1, BAND_PRODUCTS // (count * (dim + 2)))
    for start in range(0, positions, BAND_POSITIONS):
        band = slice(start, start + BAND_POSITIONS)
        # One matrix product gives all weighted squared differences: w |x - y|² = w (x·x - 2 x·y + y·y).
        shown = states[band]
        power = np.einsum("pnf,pnf->pn", shown, shown)[:, :, None]
        one = np.ones_like(power)
        left = np.concatenate([shown, power, one], axis=2) * weights[band, :, None]
        right = np.concatenate([-2 * shown, one, power], axis=2)[:, candidates].transpose(0, 2, 1).copy()
        total = np.zeros((len(shown), count), dtype=np.float32)
        for first in range(0, n, step):
            last = min(first + step, n)
            known = int(np.searchsorted(candidates, last))
            error = left[:, first:last] @ right[:, :, :known]
            np.maximum(error, 0.0, out=error)
            error *= candidates[:known] <= np.arange(first, last)[:, None]  # frames before a candidate do not count
            error[:, 0] += total[:, :known]
            np.cumsum(error, axis=1, out=error)
            total[:, :known] = error[:, -1]
            at = np.flatnonzero((ends > first) & (ends <= last))
            costs[at + 1, band, :known] = error[:, ends[at] - first - 1].transpose(1, 0, 2)
    return costs


def _cheapest_refreshes(costs: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Refresh times that minimise error plus price, exactly and for every position alone (dynamic programming).

    Args:
        costs (`np.ndarray` of shape `(num_candidates + 1, positions, num_candidates)`): of `_hold_costs`.
        price (`np.ndarray` of shape `(num_candidates,)`, float32): what a refresh at each candidate costs.

    Returns:
        `np.ndarray` of shape `(positions, num_candidates)`, bool: where a refresh happens. Every position shows
        candidate 0 first.
    """
    positions, count = costs.shape[1:]
    best = np.zeros((positions, count), dtype=np.float32)  # least cost up to a refresh at this candidate
    previous = np.zeros((count + 1, positions), dtype=np.intp)
    row = np.arange(positions)
    for at in range(1, count + 1):
        total = best[:, :at] + costs[at, :, :at]
        previous[at] = total.argmin(axis=1)
        if at < count:
            best[:, at] = total[row, previous[at]] + price[at]
    refresh = np.zeros((positions, count), dtype=bool)
    last = previous[count]
    while last.any():
        refresh[row, last] = True
        last = previous[last, row]
    refresh[:, 0] = False
    return refresh


def _spend(
    costs: np.ndarray, share: np.ndarray, budget: int, price: float, unspent: float
) -> tuple[float, np.ndarray]:
    """Finds a price of a token at which the refreshes all but spend the budget.

    Args:
        share (`np.ndarray` of shape `(num_candidates,)`, float32): tokens that a refresh at each candidate costs.
        price (`float`): where the search begins.
        unspent (`float`): the share of the budget that may be left over; what single steps of the price cannot spend
            is left over as well.

    Returns:
        The price and the refreshes, bool of shape `(positions, num_candidates)`, at most `budget` of them.
    """
    x = math.log(price)
    low = high = None  # (log of the price, log of what is spent over the budget) on both sides of it
    best = None
    for step in itertools.count():
        found = _cheapest_refreshes(costs, np.float32(math.exp(x)) * share)
        excess = math.log((int(found.sum()) + 0.5) / (budget + 0.5))
        if excess > 0:
            low = (x, excess)
        else:
            high, best, best_x = (x, excess), found, x
            if excess >= math.log(1 - unspent):
                break
        if best is not None and step >= SEARCH_STEPS:
            break
        if low is None or high is None:
            # What is spent falls about as fast as the price rises.
            x += math.copysign(max(1.0, min(abs(excess), 4.0)), excess)
        else:
            width = high[0] - low[0]
            if width < 1e-3:
                break
            # Between the line through both ends and the middle, so that neither end stays for long.
            line = low[0] + width * low[1] / (low[1] - high[1])
            middle = low[0] + width / 2
            x = line if step % 3 else middle
            x = min(max(x, low[0] + 0.05 * width), high[0] - 0.05 * width)
    return math.exp(best_x), best


def _gains(costs: np.ndarray, refresh: np.ndarray) -> np.ndarray:
    """Error that each refresh removes, or would remove if it were added, all others staying.

    Returns:
        `np.ndarray` of shape `(positions, num_candidates)`, float32.
    """
    positions, count = refresh.shape
    row, index = np.arange(positions)[:, None], np.arange(count)[None]
    # The candidate shown just before each one, and the refresh that ends what is shown from it on.
    start = np.maximum.accumulate(np.where(refresh, index, 0), axis=1)
    start = np.concatenate([start[:, :1], start[:, :-1]], axis=1)
    end = np.minimum.accumulate(np.where(refresh, index, count)[:, ::-1], axis=1)[:, ::-1]
    end = np.concatenate([end[:, 1:], np.full((positions, 1), count)], axis=1)
    return costs[end, row, start] - costs[index, row, start] - costs[end, row, index]


def _fill(costs: np.ndarray, refresh: np.ndarray, budget: int) -> None:
    """Adds refreshes to `refresh` in place, the one that removes most error first, until there are `budget`."""
    row = np.arange(len(refresh))
    while (missing := budget - int(refresh.sum())) > 0:
        gain = np.where(refresh, -np.inf, _gains(costs, refresh))
        gain[:, 0] = -np.inf
        # A second refresh of one position changes the gain of the first: one for each position and round.
        best = gain.argmax(axis=1)
        value = gain[row, best]
        order = np.argsort(-value, kind="stable")[:missing]
        order = order[np.isfinite(value[order])]
        refresh[order, best[order]] = True


def select_state(
    features: np.ndarray,
    budget: int,
    *,
    weights: np.ndarray | None = None,
    events: np.ndarray | None = None,
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
        events (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`, bool, *optional*): where something stands
            out. Where more frames are wanted than there may be, half are kept for all that they show, the others for
            one event; none by default.
        anchor (`int`): frame shown whole already; no block comes from it or from earlier frames.
        bad (`np.ndarray` of shape `(num_frames,)`, bool, *optional*): frames no block may be taken from.
        max_frames (`int`, *optional*): at most this many distinct frames.
        text_tokens (`int`): tokens of the timestamp that a source frame opens.

    Returns:
        `np.ndarray` of shape `(k, 3)`, int64: (frame, block row, block column), sorted in that order.
    """
    n, rows, cols, dim = features.shape
    positions = rows * cols
    allowed = _allowed_frames(n, anchor, bad)
    allowed[:anchor] = False
    budget = min(budget, int(allowed.sum()) * positions)
    if budget <= 0:
        return np.zeros((0, 3), dtype=np.int64)
    weight = np.ones((n, rows, cols), dtype=np.float32)
    if weights is not None:
        weight = weight * np.asarray(weights, dtype=np.float32)
    if bad is not None:
        weight[np.asarray(bad, dtype=bool)] = 0.0  # nothing may show them, so they say nothing about any choice
    weight = weight.reshape(n, positions)
    events = np.zeros_like(weight, dtype=bool) if events is None else events.reshape(n, positions)
    states = features.reshape(n, positions, dim).astype(np.float32, copy=False)
    states = states - states.mean(axis=0)  # errors are differences: keeps float32 exact enough

    most = max(budget // positions + 1, math.isqrt(TABLE_ENTRIES // positions) - 1)
    if allowed.sum() > most:
        change = np.zeros((n, positions), dtype=np.float32)
        change[1:] = ((states[1:] - states[:-1]) ** 2).sum(axis=2) * weight[1:]
        allowed &= _strongest_frames(np.where(allowed[:, None], change, -1.0), most)
    frames = np.concatenate([[anchor], np.flatnonzero(allowed)])
    states, weight = states[anchor:].transpose(1, 0, 2).copy(), weight[anchor:].T
    costs = _hold_costs(states, weight, frames - anchor)

    limit = len(frames) - 1 if max_frames is None else min(max_frames, len(frames) - 1)
    # A refresh costs the token of its block and a part of its frame's timestamp.
    usual = budget / max(1, (len(frames) - 1) // 2)
    share = np.full(len(frames), 1 + text_tokens / usual, dtype=np.float32)
    price = float(costs[-1, :, 0].sum()) / budget + 1e-6
    for unspent in UNSPENT:
        price, refresh = _spend(costs, share, budget, price, unspent)
        taken = refresh.sum(axis=0)
        opened = taken > 0
        if opened.sum() > limit:
            gains = np.where(refresh, _gains(costs, refresh), 0.0)[:, 1:].T
            opened[1:] = _opened_frames(gains, limit, events[frames[1:]])
        # Frames that hardly any block asks for are given up, and those that stay share their timestamps anew.
        opened[0] = True
        costs, refresh = costs[np.append(opened, True)][:, :, opened], refresh[:, opened]
        frames, share = frames[opened], (1 + text_tokens / np.maximum(taken[opened], 1)).astype(np.float32)
    if (len(frames) - 1) * positions < budget:  # too few to hold it
        closed = np.setdiff1d(np.flatnonzero(allowed), frames)[: limit + 1 - len(frames)]
        frames = np.concatenate([frames, closed])
        refresh = np.pad(refresh, ((0, 0), (0, len(closed))))[:, np.argsort(frames)]
        frames = np.sort(frames)
        costs = _hold_costs(states, weight, frames - anchor)
        budget = min(budget, (len(frames) - 1) * positions)
    _fill(costs, refresh, budget)
    chosen = np.zeros((n, positions), dtype=bool)
    chosen[frames] = refresh.T
    return _positions(chosen.reshape(n, rows, cols))


def error_weights(surprise: np.ndarray) -> np.ndarray:
    """How much more than elsewhere an error matters to `select_state` where something stands out.

    Squared error alone is blind to small events that camera motion, noise or fades drown. The weight is that of the
    block alone, not of what else its group holds, so that an event counts the same at every budget, and has a bound.

    Args:
        surprise (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`): of `Evidence`.

    Returns:
        float32 `np.ndarray` of the same shape, from 1 to `1 + SURPRISE_WEIGHT`.
    """
    return 1 + np.float32(SURPRISE_WEIGHT / FULL_SURPRISE) * np.minimum(surprise, np.float32(FULL_SURPRISE))
