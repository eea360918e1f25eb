#!/usr/bin/env python3
"""Degree distributions for the codes of Sources/ProtocolCore/Reconciliation.

    optimise_degrees.py check               thresholds of the table in DegreeDistribution.swift
    optimise_degrees.py RATE EDGES [START]  a distribution for a syndrome rate and edges per bit,
                                            from the entry of the table nearest to START

Needs numpy and scipy. Density evolution (Richardson, Urbanke, IEEE Trans. Inf. Theory 47, 599, 2001)
of the messages the decoder really has: whole tenths of a nat, at most 127, checks by the pairwise
rule rounded after each step. The search is the one of Richardson, Shokrollahi, Urbanke (same issue,
619): at the highest error rate that the present distribution corrects within ITERATIONS, a linear
program changes it a little so that the predicted number of iterations falls most. Bits of degree 2
are fewer than checks, so that they can form a chain without a cycle. It is a local search: another
start ends at another distribution with nearly the same threshold.
"""
import pathlib
import re
import sys

import numpy as np
from scipy.optimize import linprog

UNIT, TOP, SIZE, ITERATIONS = 10, 127, 8192, 160
DEGREES = [2, 3, 4, 7, 8, 9, 10, 14, 16, 20, 23, 26, 30, 40]
CHAIN = 0.97  # bits of degree 2 per check
TABLE = pathlib.Path(__file__).parents[2] / (
    "Sources/ProtocolCore/Reconciliation/DegreeDistribution.swift")


def entropy(e):
    return -(e * np.log2(e) + (1 - e) * np.log2(1 - e))


def inverse_entropy(h):
    low, high = 1e-6, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy(middle) < h else (low, middle)
    return low


def box_table():
    a, b = np.meshgrid(np.arange(TOP + 1) / UNIT, np.arange(TOP + 1) / UNIT, indexing="ij")
    exact = np.minimum(a, b) + np.log1p(np.exp(-(a + b))) - np.log1p(np.exp(-abs(a - b)))
    return np.rint(exact * UNIT).astype(np.int64).ravel()


BOX = box_table()


def combine(p, q):
    """Two magnitudes meet; p and q are (sum, difference) over the two signs."""
    return tuple(
        np.bincount(BOX, weights=np.outer(x, y).ravel(), minlength=TOP + 1)
        for x, y in zip(p, q))


def power(p, n):
    result = None
    while n:
        if n & 1:
            result = p if result is None else combine(result, p)
        n >>= 1
        if n:
            p = combine(p, p)
    return result


def check_output(density, checks):
    plus, minus = density[TOP:], density[TOP::-1]
    total, difference = plus + minus, plus - minus
    total[0], difference[0] = density[TOP], 0
    out = np.zeros(2 * TOP + 1)
    for degree, fraction in checks.items():
        s, t = power((total, difference), degree - 1)
        out[TOP:] += fraction * (s + t) / 2
        negative = fraction * (s - t) / 2
        negative[0] = fraction * s[0] / 2
        out[TOP::-1] += negative
    return out


def spectrum(density):
    x = np.zeros(SIZE)
    x[:TOP + 1], x[-TOP:] = density[TOP:], density[:TOP]
    return np.fft.rfft(x)


def clipped(full):
    x = np.fft.irfft(full, SIZE)
    out = np.empty(2 * TOP + 1)
    out[TOP:], out[:TOP] = x[:TOP + 1], x[-TOP:]
    out[2 * TOP] += x[TOP + 1:SIZE // 2].sum()
    out[0] += x[SIZE // 2:-TOP].sum()
    return np.maximum(out, 0)


def evolve(e, edges, checks, limit, record=False):
    """(iterations or None, error probabilities, those of each degree) of flooding decoding."""
    # In whole units flooding can halt when a whole number of the first messages only just equals
    # the channel's; it does so above the exact value, not below. Layered sweeps do not.
    level = int(UNIT * np.log((1 - e) / e)) - 1
    density = np.zeros(2 * TOP + 1)
    density[TOP + level], density[TOP - level] = 1 - e, e
    channel = spectrum(density)
    errors, by_degree = [e], []
    for iteration in range(limit):
        message = spectrum(check_output(density, checks))
        mixture, product, row = 0, np.ones_like(message), []
        for degree in range(2, max(edges) + 1):
            product = product * message
            if degree in edges:
                mixture = mixture + edges[degree] * product
                if record:
                    x = np.fft.irfft(channel * product, SIZE)
                    row.append(x[SIZE // 2:].sum() + x[0] / 2)
        density = clipped(channel * mixture)
        density /= density.sum()
        errors.append(density[:TOP].sum() + density[TOP] / 2)
        by_degree.append(row)
        if errors[-1] < 1e-5:
            return iteration + 1, errors, by_degree
        if iteration > 5 and errors[-1] > errors[-2] * (1 - 1e-5):
            break
    return None, errors, by_degree


def threshold(edges, checks, low, high, steps):
    for _ in range(steps):
        middle = (low + high) / 2
        converges = evolve(middle, edges, checks, ITERATIONS)[0]
        low, high = (middle, high) if converges else (low, middle)
    return low


def check_degrees(mean):
    low = int(mean)
    share = mean - low
    whole = {low: low * (1 - share) / mean, low + 1: (low + 1) * share / mean}
    return {degree: fraction for degree, fraction in whole.items() if fraction > 1e-9}


def optimise(rate, edges_per_bit, start, rounds=60):
    mean = edges_per_bit / rate
    checks, cap = check_degrees(mean), CHAIN * 2 / mean
    degrees = np.array(DEGREES)
    bounds = [(0, cap if d == 2 else 1) for d in DEGREES]
    sums = np.array([1 / degrees, np.ones(len(degrees))])
    # The nearest distribution that has the wanted edges per bit.
    wish = np.zeros(len(degrees))
    for degree, fraction in start.items():
        wish[np.argmin(abs(degrees - degree))] += fraction
    eye = np.eye(len(degrees))
    found = linprog(
        np.r_[np.zeros(len(degrees)), np.ones(2 * len(degrees))],
        A_eq=np.vstack([
            np.hstack([sums, np.zeros((2, 2 * len(degrees)))]), np.hstack([eye, -eye, eye])]),
        b_eq=np.r_[1 / edges_per_bit, 1, wish],
        bounds=bounds + [(0, None)] * (2 * len(degrees)))
    present, best, step = found.x[:len(degrees)], (0, None), 0.04
    limit = inverse_entropy(rate)
    e = threshold(dict(zip(DEGREES, present)), checks, 0.4 * limit, limit, 9)
    for _ in range(rounds):
        edges = dict(zip(DEGREES, present))
        e = threshold(edges, checks, e * 0.995, min(limit, e * 1.02), 7)
        best = max(best, (e, tuple(present)))
        before, errors, by_degree = evolve(e * 0.999, edges, checks, 2 * ITERATIONS, record=True)
        if before is None or step < 0.0008:
            break
        gain, reached = -np.diff(errors), np.array(by_degree)
        used = gain > 0
        found = linprog(
            (reached[used] / gain[used][:, None]).sum(axis=0), A_ub=reached[used],
            b_ub=(reached @ present)[used] + 0.5 * gain[used], A_eq=sums,
            b_eq=[1 / edges_per_bit, 1],
            bounds=[(max(0, x - step), min(top, x + step)) for x, (_, top) in zip(present, bounds)])
        after = None
        if found.status == 0:
            after = evolve(e * 0.999, dict(zip(DEGREES, found.x)), checks, ITERATIONS)[0]
        if after and after <= before:
            present, step = found.x, 1.2 * step
        else:
            step /= 2.5
    return best[0], dict(zip(DEGREES, best[1]))


def table():
    """{rate: {degree: edge fraction}} of the Swift source."""
    text = TABLE.read_text()
    entries = re.findall(r"\(\s*(0\.\d+),[^\[]*\[(.*?)\]\s*\)", text, re.S)
    return {
        float(rate): {int(d): float(f) for d, f in re.findall(r"\((\d+), ([\d.]+)\)", body)}
        for rate, body in entries}


def report(rate, e, edges):
    per_bit = 1 / sum(fraction / degree for degree, fraction in edges.items())
    print(f"rate {rate:.3f}: {per_bit:.2f} edges per bit, e* {e:.5f}, f* {rate / entropy(e):.4f}")


def main():
    if sys.argv[1:] == ["check"]:
        for rate, edges in table().items():
            per_bit = 1 / sum(fraction / degree for degree, fraction in edges.items())
            limit = inverse_entropy(rate)
            e = threshold(edges, check_degrees(per_bit / rate), 0.8 * limit, limit, 12)
            report(rate, e, edges)
    elif len(sys.argv) in (3, 4):
        rate, edges_per_bit = float(sys.argv[1]), float(sys.argv[2])
        near = float(sys.argv[3]) if len(sys.argv) == 4 else rate
        entries = table()
        start = entries[min(entries, key=lambda other: abs(other - near))]
        e, edges = optimise(rate, edges_per_bit, start)
        report(rate, e, edges)
        print(", ".join(f"({d}, {f:.4f})" for d, f in edges.items() if f > 0.0005))
    else:
        sys.exit(__doc__)


main()
