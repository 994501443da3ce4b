#!/usr/bin/env python3
"""Measures `tercet classify` on labelled prompts that its weights have not seen, by cross-validation.

  measure.py DATA --tercet BINARY [--workloads K] [--seeds 5] [--leave-out]

For each of five folds by question (or, with --leave-out, for each task family) weights are trained without it and the
program answers its requests with them; the answers of all folds are scored together by DATA/eval.py. With --workloads K
every task has a system prompt of its own, and K outcomes of each, drawn from the other folds, are learned first (with
--leave-out from the family itself: the weights have not seen it, a tenant's outcomes have). Printed: eval.py's lines, by
seed of the requests and as mean with minimum and maximum.
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


def folds(rows, leave_out):
    """Name of the fold, and which fold a row belongs to."""
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
    """The answers to all rows, each by weights that have not seen its fold."""
    rng = np.random.default_rng(seed)
    options = SimpleNamespace(model='claude-opus-5-5', workloads=arguments.workloads, seed=seed)
    body = lambda row: evaluation.body_of(row, options, rng)
    tasks = defaultdict(list)
    for at, row in enumerate(rows):
        tasks[(row['source'], str(row.get('category')))].append(at)
    predictions = {}
    for fold in sorted(set(of), key=str):
        outcomes, used = [], set()
        for task in sorted(tasks) if arguments.workloads else []:
            others = [at for at in tasks[task] if (of[at] != fold) != arguments.leave_out]
            for at in rng.permutation(others)[:arguments.workloads]:
                used.add(at)
                shown = body(rows[at])
                outcomes += [json.dumps({'body': shown, 'tier': evaluation.NAME[tier], 'score': score}) + '\n'
                             for tier, score in rows[at]['scores'].items()]
        asked = [at for at, row in enumerate(rows) if of[at] == fold and at not in used]
        requests = [json.dumps({'id': str(at), 'body': body(rows[at])}, ensure_ascii=False) + '\n' for at in asked]
        for told in answer(arguments.tercet, weights[fold], outcomes, requests, folder):
            predictions[int(told['id'])] = told
    return predictions


def score(evaluation, rows, predictions):
    """Per set: APGR, cost at 95 %, and what the tiers hold and cost."""
    kept = sorted(predictions)
    rows = [rows[at] for at in kept]
    points = np.array([predictions[at]['score'] for at in kept])
    tiers = {rows[place]['id']: evaluation.TIER[predictions[at]['tier']] for place, at in enumerate(kept)}
    found = {}
    for name, places in sorted(evaluation.groups_of(rows).items()):
        small, large, cheap, dear = evaluation.arrays(rows, places)
        if len(places) < 50:
            continue
        measured = evaluation.evaluate(points[places], small, large, cheap, dear, boot=0)
        coin = evaluation.random_mix(small, large, cheap, dear)
        hard = evaluation.tiers(tiers, rows, places, ratio=40.0, boot=0)
        least = small.mean() / large.mean()
        share = max(0.0, (hard['quality_vs_large'] - least) / (1 - least)) if least < 1 else 0.0
        found[name] = {
            'n': len(places), 'apgr': measured['apgr'], 'cost95': measured['cost95_r40'], 'coin95': coin['cost95_r40'],
            'quality': hard['quality_vs_large'], 'cost': hard['cost_vs_large'],
            'coin_at_quality': 1 / 40 + share * (1 - 1 / 40), 'gain': hard['gain_over_mix'],
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data')
    parser.add_argument('--tercet', required=True)
    parser.add_argument('--workloads', type=int, default=0)
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--leave-out', action='store_true')
    parser.add_argument('--seed', type=int, default=7, help='of the weights')
    arguments = parser.parse_args()
    spec = importlib.util.spec_from_file_location('evaluation', os.path.join(arguments.data, 'eval.py'))
    evaluation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(evaluation)
    rows = evaluation.load(arguments.data, ['dev'])
    of = folds(rows, arguments.leave_out)
    with tempfile.TemporaryDirectory() as folder:
        weights = {}
        for fold in set(of):
            without = SimpleNamespace(
                leave_out=fold if arguments.leave_out else None, fold=None if arguments.leave_out else fold,
                seed=arguments.seed)
            weights[fold] = os.path.join(folder, f'weights-{len(weights)}.json')
            chosen = list(train.chosen(rows, without))
            train.write(weights[fold], train.train(chosen, arguments.seed), without, chosen)
        runs = []
        for seed in range(arguments.seeds):
            predictions = run(arguments, evaluation, rows, of, weights, seed, folder)
            runs.append(score(evaluation, rows, predictions))
    for name in runs[0]:
        cells = [f'{name:18s} n={runs[0][name]["n"]:5d}']
        for key in list(runs[0][name])[1:]:
            values = [each[name][key] for each in runs]
            spread = f' [{min(values):.3f} {max(values):.3f}]' if len(values) > 1 else ''
            cells.append(f'{key}={np.mean(values):.3f}{spread}')
        print('  '.join(cells), flush=True)


if __name__ == '__main__':
    main()
