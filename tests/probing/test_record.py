"""The file between probe and derive-settings."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ss_backbones.errors import ProbeError
from ss_backbones.probing.record import (
    BlockStatistics,
    LayerStatistics,
    Record,
    Snapshot,
    as_json,
    read_record,
)

GL1 = LayerStatistics(0.1, 0.2, -0.3, 1e-17, 1, 2.5)
GL2 = LayerStatistics(0.25, 1 / 3, 0.0, 0.5, -1.0, 1e-300)
BLOCK = BlockStatistics('stages.1.blocks.0', 4, 16, GL1, GL2, 0.6, 0.0, -0.7)
RECORD = Record(
    'a = "ü"\n', (Snapshot('epoch_1.pth', 1, (BLOCK,)), Snapshot('b.pth', None, (replace(BLOCK, dim=8), BLOCK)))
)
Data = dict[str, object]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / 'probe.json'
    path.write_text(as_json(RECORD), encoding='utf-8')
    return path


def test_what_is_written_is_read(file: Path) -> None:
    assert read_record(file) == RECORD
    assert read_record(file).last == RECORD.snapshots[1]


def test_a_record_without_a_config(tmp_path: Path) -> None:
    (tmp_path / 'probe.json').write_text(as_json(replace(RECORD, config=None)), encoding='utf-8')
    assert read_record(tmp_path / 'probe.json') == replace(RECORD, config=None)


def test_numbers_that_are_none_are_not_written() -> None:
    with pytest.raises(ValueError, match='JSON'):
        as_json(Record(None, (Snapshot('a.pth', 1, (replace(BLOCK, gate_swing=float('nan')),)),)))


def block_of(data: Data) -> Data:
    return data['snapshots'][1]['blocks'][0]


CHANGES: dict[str, tuple[Callable[[Data], object], str]] = {
    'another format': (lambda d: d.update(format='ss_backbones probe 1'), "'ss_backbones probe 1'"),
    'no format': (lambda d: d.pop('format'), 'None'),
    'no config': (lambda d: d.pop('config'), "lacks .'config'. and has .. more"),
    'no snapshots': (lambda d: d.pop('snapshots'), "lacks .'snapshots'."),
    'snapshots that are a number': (lambda d: d.update(snapshots=3), 'snapshots must be a list'),
    'a snapshot that is none': (lambda d: d['snapshots'].append(None), r'snapshots\[2\] lacks'),
    'empty snapshots': (lambda d: d['snapshots'].clear(), 'snapshots must be .* and not be empty'),
    'a snapshot without blocks': (
        lambda d: d['snapshots'][0]['blocks'].clear(),
        r'snapshots\[0\].blocks must be .* and not be empty',
    ),
    'a lost number': (lambda d: block_of(d).pop('gate_swing'), r'blocks\[0\] lacks .*gate_swing'),
    'a lost layer': (lambda d: block_of(d).pop('gl2'), "lacks .'gl2'."),
    'a lost number of a layer': (lambda d: block_of(d)['gl2'].pop('slope'), r'gl2 lacks .*slope'),
    'a number too many': (lambda d: block_of(d).update(more=1), "has .'more'. more"),
    'a config that is a number': (lambda d: d.update(config=3), 'config is 3, and must be a text'),
    'a name that is a number': (lambda d: block_of(d).update(name=3), 'name is 3, and must be a text'),
    'a text': (
        lambda d: block_of(d)['gl1'].update(size='2'),
        r"snapshots\[1\].blocks\[0\].gl1.size is '2', and must be a finite number",
    ),
    'true': (lambda d: block_of(d).update(pass_through=True), 'pass_through is True'),
    'null': (lambda d: block_of(d).update(correlation=None), 'correlation is None'),
    'NaN': (lambda d: block_of(d)['gl2'].update(slope=float('nan')), 'slope is nan'),
    'a huge number': (lambda d: block_of(d).update(gate_swing=10**400), 'gate_swing is 1000'),
    'infinity': (lambda d: block_of(d).update(gate_swing=float('inf')), 'gate_swing is inf'),
}


@pytest.mark.parametrize('case', CHANGES)
def test_what_is_no_record_is_refused(file: Path, case: str) -> None:
    change, said = CHANGES[case]
    data = json.loads(file.read_text(encoding='utf-8'))
    change(data)
    file.write_text(json.dumps(data), encoding='utf-8')
    with pytest.raises(ProbeError, match=said) as caught:
        read_record(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize('content', [b'', b'{"format": ', b'\xff\xfe', b'[]', b'3', b'null'])
def test_what_is_no_json_or_another_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ProbeError, match='probe.json'):
        read_record(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match='does not exist'):
        read_record(tmp_path / 'none.json')
    with pytest.raises(ProbeError, match='cannot be read'):
        read_record(tmp_path)
