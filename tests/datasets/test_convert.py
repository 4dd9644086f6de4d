import json

import pytest
from PIL import Image

from detrove.cli.convert_dataset import main
from detrove.datasets.convert import read, to_coco, write


def image(path, width=100, height=50):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (width, height)).save(path)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def voc_object(name, box, difficult=0):
    corners = ''.join(
        f'<{key}>{value}</{key}>' for key, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
    )
    flags = f'<difficult>{difficult}</difficult>'
    return f'<object>\n<name>{name}</name>{flags}<bndbox>{corners}</bndbox></object>\n'


def voc_file(path, *objects, width=100, height=50):
    size = f'<size><width>{width}</width><height>{height}</height></size>'
    text(
        path, f'<annotation>\n<filename>{path.stem}.jpg</filename>\n{size}\n{"".join(objects)}</annotation>\n'
    )


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / 'VOC2007'
    for stem in ('000001', '000002', '000003'):
        image(root / 'JPEGImages' / f'{stem}.jpg')
    voc_file(
        root / 'Annotations/000001.xml',
        voc_object('dog', (1, 1, 100, 50)),
        voc_object('cat', (11, 6, 20, 15), 1),
    )
    voc_file(root / 'Annotations/000002.xml')
    voc_file(root / 'Annotations/000003.xml', voc_object('bird', (3, 4, 5, 6)))
    text(root / 'ImageSets/Main/train.txt', '000001\n000002\n')
    text(root / 'ImageSets/Main/val.txt', '000003\n')
    text(root / 'ImageSets/Main/dog_train.txt', '000001 1\n')
    return root


def test_voc_counts_pixels_from_one(voc):
    conversion = read(voc)
    assert list(conversion.splits) == ['train', 'val'] and not conversion.problems
    assert conversion.classes == ['bird', 'cat', 'dog']
    content = to_coco(conversion, 'train')
    assert [i['file_name'] for i in content['images']] == ['JPEGImages/000001.jpg', 'JPEGImages/000002.jpg']
    dog, cat = content['annotations']
    assert (
        dog['bbox'] == [0, 0, 100, 50]
        and dog['category_id'] == 3
        and dog['area'] == 5000
        and dog['iscrowd'] == 0
    )
    assert cat['bbox'] == [10, 5, 10, 10] and cat['iscrowd'] == 1, 'difficult objects are ignored'
    assert to_coco(conversion, 'val')['categories'] == content['categories']


def test_voc_without_image_sets_is_one_split(voc):
    for path in (voc / 'ImageSets/Main').iterdir():
        path.unlink()
    assert [len(images) for images in read(voc).splits.values()] == [3]


def test_voc_problems_are_reported_with_their_line(voc):
    voc_file(
        voc / 'Annotations/000001.xml',
        voc_object('dog', (1, 1, 9, 9)),
        voc_object('dog', (1, 'x', 9, 9)),
        voc_object('dog', (9, 9, 5, 5)),
    )
    text(voc / 'Annotations/000002.xml', '<annotation>\n<object>\n</annotation>')
    (voc / 'JPEGImages/000003.jpg').unlink()
    problems = read(voc).problems
    assert [problem.split('Annotations/')[1].rsplit(': ', 1)[0].split(': ')[0] for problem in problems] == [
        '000001.xml:6',
        '000001.xml:8',
        '000002.xml:3',
        '000003.xml',
    ]
    assert len(to_coco(read(voc), 'train')['annotations']) == 1


LAYOUTS = {
    'split inside images': ('images/train', 'images/val', 'labels/train', 'labels/val'),
    'split outside images': ('train/images', 'valid/images', 'train/labels', 'valid/labels'),
}


@pytest.fixture(params=LAYOUTS)
def yolo(request, tmp_path):
    train, val, train_labels, val_labels = LAYOUTS[request.param]
    image(tmp_path / train / 'a.png', 200, 100)
    image(tmp_path / train / 'b.jpg')
    image(tmp_path / val / 'c.jpg')
    text(tmp_path / train_labels / 'a.txt', '1 0.5 0.5 0.5 0.2\n\n0 0.1 0.1 0.3 0.1 0.3 0.4\n')
    text(tmp_path / val_labels / 'c.txt', '0 0.25 0.5 0.1 1.0\n')
    text(tmp_path / 'data.yaml', f'train: ../{train}\nval: {val}\nnc: 2\nnames: [tree, car]\n')
    return tmp_path


def check_yolo(conversion):
    assert not conversion.problems and list(conversion.splits) == ['train', 'val']
    assert conversion.classes == ['tree', 'car']
    content = to_coco(conversion, 'train')
    assert [(i['width'], i['height']) for i in content['images']] == [(200, 100), (100, 50)]
    car, tree = content['annotations']
    assert car['bbox'] == [50, 40, 100, 20] and car['category_id'] == 2 and 'segmentation' not in car
    assert tree['bbox'] == [20, 10, 40, 30] and tree['segmentation'] == [[20, 10, 60, 10, 60, 40]]
    assert tree['area'] == 600
    assert to_coco(conversion, 'val')['annotations'][0]['bbox'] == [20, 0, 10, 50]


def test_yolo_by_data_yaml(yolo):
    check_yolo(read(yolo))


def test_yolo_by_folders_and_class_file(yolo):
    (yolo / 'data.yaml').unlink()
    text(yolo / 'classes.txt', 'tree\ncar\n')
    check_yolo(read(yolo))


def test_yolo_names_as_a_mapping_and_a_list_of_images(yolo):
    train = sorted(str(path) for path in yolo.rglob('*') if path.name in ('a.png', 'b.jpg'))
    text(yolo / 'train.txt', '\n'.join(train))
    text(yolo / 'data.yaml', f'path: {yolo}\ntrain: train.txt\nnames:\n  0: tree\n  1: car\n')
    assert [len(images) for images in read(yolo).splits.values()] == [2]


@pytest.mark.parametrize(
    'line',
    [
        '0 0.5 0.5 0.2',
        '0 0.5 0.5 0.2 0.2 0.9',
        '2 0.5 0.5 0.2 0.2',
        '0.5 0.5 0.5 0.2 0.2',
        '0 0.5 x 0.2 0.2',
        '0 0.5 1.5 0.2 0.2',
        '0 0.5 0.5 0 0.2',
        'nan .5 .5 .5 .5',
    ],
)
def test_yolo_malformed_line_is_reported_with_file_and_line(yolo, line):
    label_path = next(yolo.rglob('a.txt'))
    text(label_path, f'0 0.5 0.5 0.2 0.2\n{line}\n')
    conversion = read(yolo)
    assert len(conversion.problems) == 1 and conversion.problems[0].startswith(f'{label_path}:2: ')
    assert len(conversion.splits['train'][0].objects) == 1


def test_boxes_survive_the_round_trip(tmp_path):
    boxes = [(3.25, 7.5, 20, 11), (0, 0, 100, 50), (99, 49, 1, 1), (12.34, 5.67, 8.9, 10.11)]
    image(tmp_path / 'images/x.png')
    lines = [
        f'0 {(x + w / 2) / 100:.8f} {(y + h / 2) / 50:.8f} {w / 100:.8f} {h / 50:.8f}' for x, y, w, h in boxes
    ]
    text(tmp_path / 'labels/x.txt', '\n'.join(lines))
    text(tmp_path / 'labels/classes.txt', 'thing')
    content = to_coco(read(tmp_path), 'all')
    for annotation, box in zip(content['annotations'], boxes, strict=True):
        assert annotation['bbox'] == pytest.approx(box, abs=1e-4)


def test_command_writes_files_that_the_data_set_reads(voc, capsys):
    from detrove.datasets import CocoDetection

    assert main([str(voc)]) == 0
    assert 'metainfo=dict(classes=' in capsys.readouterr().out
    dataset = CocoDetection(data_root=str(voc), ann_file='coco/train.json', data_prefix=dict(img=''))
    assert len(dataset) == 2
    assert [i['ignore_flag'] for i in dataset.get_data_info(0)['instances']] == [0, 1]


def test_nothing_is_overwritten_unasked(voc):
    main([str(voc)])
    written = voc / 'coco/train.json'
    written.write_text('mine')
    with pytest.raises(FileExistsError, match='--force'):
        main([str(voc)])
    assert written.read_text() == 'mine'
    assert main([str(voc), '--force']) == 0
    assert 'images' in json.loads(written.read_text())


def test_command_refuses_bad_lines_unless_told_to_skip_them(yolo, capsys):
    text(next(yolo.rglob('a.txt')), '7 0.5 0.5 0.2 0.2\n')
    with pytest.raises(ValueError, match='--skip-bad'):
        main([str(yolo)])
    assert not (yolo / 'coco').exists()
    assert main([str(yolo), '--skip-bad', '--out', str(yolo / 'out')]) == 0
    assert 'a.txt:1: class 7' in capsys.readouterr().err
    assert sorted(path.name for path in (yolo / 'out').iterdir()) == ['train.json', 'val.json']


def test_unknown_layout_names_what_was_found(tmp_path):
    image(tmp_path / 'pictures/x.png')
    with pytest.raises(FileNotFoundError, match='pictures'):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match='No folder'):
        read(tmp_path / 'nowhere')


def test_yolo_without_class_names_says_where_they_may_be(yolo):
    (yolo / 'data.yaml').unlink()
    with pytest.raises(ValueError, match=r'classes\.txt'):
        read(yolo)
    assert write(read(yolo, classes=['tree', 'car']), yolo / 'out')
