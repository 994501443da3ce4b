#!/usr/bin/env python3
"""Measures `tercet classify` on labelled prompts that its weights have not seen, by cross-validation.

  measure.py DATA --tercet BINARY [--workloads K] [--seeds 5] [--leave-out] [--calibration]

For each of five folds by question (or, with --leave-out, for each task family) weights are trained without it and the
program answers its requests with them; the answers of all folds are scored together by DATA/eval.py. With --workloads K
every task has a system prompt of its own, and K outcomes of each are learned first: drawn from the other folds, as a
tenant's earlier requests; with --leave-out from the family itself, and not asked then (the weights have not seen it, a
tenant's outcomes have).

Printed by set, as mean with least and most over the seeds: APGR and the cost that holds 95 % of the large model's
quality, beside those of a coin, of the prompt's length and of one number per workload (the difference of the two
models' mean scores in the same K outcomes); then for the tiers chosen their quality and cost as shares of the large
model's, what a coin of that quality costs, and the gain in quality over a coin of that cost. With --calibration, by
tier: the expected calibration error in ten bins, and the bins.
"""
import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from types import SimpleNamespace

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('BOOT', '0')
import numpy as np

import train

BINS = 10
PLAIN = ('n', 'coin95')     # the same for every seed


def folds(rows, leave_out):
    """Which fold each row belongs to."""
    if leave_out:
        return [train.family(row) for row in rows]
    return [train.fold_of(row['group']) for row in rows]


def answer(binary, weights, outcomes, requests, folder):
    command = [binary, 'classify', '--weights', weights]
    if outcomes:
        path = os.path.join(folder, 'outcomes.jsonl')
        with open(path, 'w') as out:
            out.writelines(outcomes)
        command += ['--outcomes', path]
    done = subprocess.run(command, input=''.join(requests), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def run(arguments, evaluation, rows, of, weights, seed, folder):
    """The answers to all rows, each by weights that have not seen its fold, with what one number would say."""
    rng = np.random.default_rng(seed)
    options = SimpleNamespace(model='claude-opus-5-5', workloads=arguments.workloads, seed=seed)
    body = lambda row: evaluation.body_of(row, options, rng)
    task_of = [(row['source'], str(row.get('category'))) for row in rows]
    tasks = defaultdict(list)
    for at, task in enumerate(task_of):
        tasks[task].append(at)
    predictions = {}
    for fold in sorted(set(of), key=str):
        outcomes, used, number = [], set(), {}
        for task in sorted(tasks) if arguments.workloads else []:
            open_to = [at for at in tasks[task] if (of[at] != fold) != arguments.leave_out]
            drawn = list(rng.permutation(open_to)[:arguments.workloads])
            for at in drawn:
                shown = body(rows[at])
                outcomes += [json.dumps({'body': shown, 'tier': evaluation.NAME[tier], 'score': score}) + '\n'
                             for tier, score in rows[at]['scores'].items()]
            used.update(drawn)
            if drawn:
                number[task] = np.mean([rows[at]['scores']['large'] - rows[at]['scores']['small'] for at in drawn])
        asked = [at for at, row in enumerate(rows) if of[at] == fold and at not in used]
        requests = [json.dumps({'id': str(at), 'body': body(rows[at])}, ensure_ascii=False) + '\n' for at in asked]
        for told in answer(arguments.tercet, weights[fold], outcomes, requests, folder):
            at = int(told['id'])
            predictions[at] = {**told, 'number': number.get(task_of[at], 0.0)}
    return predictions


def score(evaluation, rows, predictions, workloads):
    """Per set: APGR and cost at 95 %, beside what is simpler, and what the tiers hold and cost."""
    kept = sorted(predictions)
    rows = [rows[at] for at in kept]
    points = {'': [predictions[at]['score'] for at in kept], 'length_': [len(row['prompt']) for row in rows]}
    if workloads:
        points['number_'] = [predictions[at]['number'] for at in kept]
    tiers = {rows[place]['id']: evaluation.TIER[predictions[at]['tier']] for place, at in enumerate(kept)}
    found = {}
    for name, places in sorted(evaluation.groups_of(rows).items()):
        if len(places) < 50:
            continue
        small, large, cheap, dear = evaluation.arrays(rows, places)
        found[name] = {'n': len(places), 'coin95': evaluation.random_mix(small, large, cheap, dear)['cost95_r40']}
        for router, values in points.items():
            measured = evaluation.evaluate(np.array(values, float)[places], small, large, cheap, dear, boot=0)
            found[name][router + 'apgr'], found[name][router + 'cost95'] = measured['apgr'], measured['cost95_r40']
        hard = evaluation.tiers(tiers, rows, places, ratio=40.0, boot=0)
        least = small.mean() / large.mean()
        share = max(0.0, (hard['quality_vs_large'] - least) / (1 - least)) if least < 1 else 0.0
        found[name] |= {
            'quality': hard['quality_vs_large'], 'cost': hard['cost_vs_large'],
            'coin_at_quality': 1 / 40 + share * (1 - 1 / 40), 'gain': hard['gain_over_mix'],
        }
    return found


def calibration(evaluation, rows, runs):
    """Per set of the Claude pair and for all others together, by tier: the error and the bins."""
    sets = {'claude3_mix': ('zeroeval', 'bfcl'), 'other pairs': tuple(set(train.SOURCES) - {'zeroeval', 'bfcl'})}
    for name, sources in sets.items():
        for place, (tier, label) in enumerate(train.TIERS.items()):
            pairs = [(told['quality'][place], rows[at]['scores'][label]) for predictions in runs
                     for at, told in predictions.items() if rows[at]['source'] in sources and label in rows[at]['scores']]
            expected, came = np.array(pairs).T
            of = np.minimum((expected * BINS).astype(int), BINS - 1)
            error, cells = 0.0, []
            for bin_ in range(BINS):
                inside = of == bin_
                if inside.any():
                    means = expected[inside].mean(), came[inside].mean()
                    error += inside.mean() * abs(means[0] - means[1])
                    cells.append(f'{means[0]:.2f}:{means[1]:.2f} ({inside.sum() // len(runs)})')
            print(f'{name:12s} {tier:7s} ECE={error:.3f}  expected:came (n)  ' + '  '.join(cells), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data')
    parser.add_argument('--tercet', required=True)
    parser.add_argument('--workloads', type=int, default=0)
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--leave-out', action='store_true')
    parser.add_argument('--calibration', action='store_true')
    parser.add_argument('--seed', type=int, default=7, help='of the weights')
    arguments = parser.parse_args()
    spec = importlib.util.spec_from_file_location('evaluation', os.path.join(arguments.data, 'eval.py'))
    evaluation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(evaluation)
    rows = evaluation.load(arguments.data, ['dev'])
    of = folds(rows, arguments.leave_out)
    with tempfile.TemporaryDirectory() as folder:
        weights = {}
        for fold in sorted(set(of), key=str):
            without = SimpleNamespace(
                leave_out=fold if arguments.leave_out else None, fold=None if arguments.leave_out else fold,
                seed=arguments.seed)
            weights[fold] = os.path.join(folder, f'weights-{len(weights)}.json')
            chosen = list(train.chosen(rows, without))
            train.write(weights[fold], train.train(chosen, arguments.seed), without, chosen)
        runs = [run(arguments, evaluation, rows, of, weights, seed, folder) for seed in range(arguments.seeds)]
    scored = [score(evaluation, rows, predictions, arguments.workloads) for predictions in runs]
    for name in scored[0]:
        cells = [f'{name:18s} n={scored[0][name]["n"]:5d}']
        for key in list(scored[0][name])[1:]:
            values = [each[name][key] for each in scored]
            spread = f' [{min(values):.3f} {max(values):.3f}]' if len(values) > 1 and key not in PLAIN else ''
            cells.append(f'{key}={np.mean(values):.3f}{spread}')
        print('  '.join(cells), flush=True)
    if arguments.calibration:
        calibration(evaluation, rows, runs)


if __name__ == '__main__':
    main()
