"""Labels from reports: what sentences and reports mean, in two languages, and that no text can break the rules."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from bonescan_utils.files import read_text_csv
from bonescan_utils.labelling.engine import LABELS
from bonescan_utils.labelling.folding import fold
from bonescan_utils.labelling.lexicon import Lexicon, LexiconError, load_lexicon
from bonescan_utils.labelling.phrases import compile_phrase
from bonescan_utils.labelling.reports import LABEL_COLUMNS, LabelError, explain, label_report, label_table
from bonescan_utils.labelling.sections import split_sections
from bonescan_utils.labelling.sentences import split_sentences

CORPUS = Path(__file__).parent / "fixtures" / "reports"
FROZEN = {
    "en_reports.csv": "e6f1bd2a52ccdf42d2ce08575211214b054e49df7b11e9a0f3672975fa24b41e",
    "en_sentences.csv": "94dfeb79563cb077c02152f7bc0d5dbea7392eead662f73da706a03984fc108a",
    "ko_reports.csv": "87db6676da4fcc91c36e064df1057b2dc56338f4cc384de0d7b8a7dfa6d3cbf6",
    "ko_sentences.csv": "f98ec7b1f505cfbe0a2f2d9ec2145231c7a9c07002b90ab3264cb5dc0ab83f10",
}


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return load_lexicon()


# ------------------------------------------------------------------------------------------------ corpus
@pytest.mark.parametrize("name", FROZEN)
def test_the_corpus_is_as_it_was_before_the_lexicon(name: str) -> None:
    assert hashlib.sha256((CORPUS / name).read_bytes()).hexdigest() == FROZEN[name]
    table = read_text_csv(CORPUS / name)
    assert len(table) >= (300 if "sentences" in name else 80) and table["text"].is_unique
    assert 0.38 <= (table["part"] == "aside").mean() <= 0.42 and set(table["label"]) == set(LABELS)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("kind", ["sentences", "reports"])
def test_labels_of_the_part_that_was_set_aside(language: str, kind: str) -> None:
    table = read_text_csv(CORPUS / f"{language}_{kind}.csv")
    aside = table[table["part"] == "aside"]
    lexicon = load_lexicon(language)
    found = [label_report(text, lexicon).label for text in aside["text"]]
    assert f1_score(aside["label"], found, average="macro") >= 0.95


def test_sentences_that_came_later_keep_their_labels(lexicon: Lexicon) -> None:
    table = read_text_csv(CORPUS / "later_sentences.csv")
    found = pd.Series([label_report(text, lexicon).label for text in table["text"]])
    assert (found == table["label"]).sum() >= 83, table[found != table["label"]]


@pytest.mark.parametrize(
    ("text", "label", "cue"),
    [
        ("Cannot exclude bone metastasis.", "uncertain", "Cannot exclude"),
        ("Metastasis cannot be excluded.", "uncertain", "cannot be excluded"),
        ("Uptake in L4, likely degenerative rather than metastasis.", "negative", "rather than"),
        ("likely post-traumatic rather than metastasis", "negative", "rather than"),
        ("No interval change of known metastases.", "positive", "No interval change"),
        ("Multiple bone metastases.", "positive", "metastases"),
        ("No lesion suspicious for metastasis.", "negative", "No"),
        ("History of bone metastasis.", "historical", "History of"),
        ("Degenerative changes in both knees.", "none", "Degenerative"),
        ("Both kidneys are seen.", "none", ""),
        ("전이를 배제할 수 없음", "uncertain", "배제할 수 없"),
        ("골전이 배제 요함", "uncertain", "배제 요함"),
        ("골전이 배제가 필요함", "uncertain", "배제가 필요"),
        ("전이를 시사하는 소견 없음", "negative", "없"),
        ("이전과 변화 없는 다발성 골전이", "positive", "변화 없"),
        ("병변의 호전이 있음.", "none", ""),
        ("다발성 폐전이.", "none", ""),
        ("과거 골전이 병력", "historical", "과거"),
        ("양측 무릎의 퇴행성 변화.", "none", "퇴행성"),
    ],
)
def test_what_a_sentence_means_and_which_words_decide(lexicon: Lexicon, text: str, label: str, cue: str) -> None:
    found = label_report(text, lexicon)
    assert (found.label, found.cue) == (label, cue)
    assert text[found.span_start : found.span_end] == cue and (found.sentence == text) == bool(cue)


# -------------------------------------------------------------------------------------- parts of a report
@pytest.mark.parametrize(
    ("text", "label", "section"),
    [
        ("FINDINGS: Suspicious for metastasis.\nIMPRESSION: No bone metastasis.", "negative", "impression"),
        ("FINDINGS: Suspicious for metastasis.\nIMPRESSION: Degenerative change.", "uncertain", "findings"),
        ("HISTORY: Known bone metastases.\nFINDINGS: Arthritis.", "historical", "history"),
        ("INDICATION: Rule out bone metastasis.\nIMPRESSION: Arthritis.", "none", "impression"),
        ("HISTORY: lung cancer\n\nMultiple bone metastases.", "positive", "findings"),
        ("[결론] 골전이 소견 없음.\n[소견] 골전이 의심.", "negative", "impression"),
        ("History: ca. Impression: Bone metastasis.", "positive", "impression"),
        ("IMPRESSION\n\n1. No fracture.\n2. Bone metastasis in L3.", "positive", "impression"),
        ("Bone metastases in L3. No other metastasis.", "positive", "findings"),
        ("No metastasis in the skull. Possible metastasis in a rib.", "uncertain", "findings"),
    ],
)
def test_the_impression_decides_then_findings_then_history(
    lexicon: Lexicon, text: str, label: str, section: str
) -> None:  # fmt: skip
    found = label_report(text, lexicon)
    assert (found.label, found.section) == (label, section)


def test_sections_and_headings_leave_nothing_out(lexicon: Lexicon) -> None:
    text = "Preamble.\nFINDINGS: one.\nIMPRESSION: two.\nHISTORY: three\n\nfour"
    sections = split_sections(text, lexicon)
    assert [(s.kind, text[s.start : s.end].strip()) for s in sections] == [
        ("findings", "Preamble."), ("findings", "one."), ("impression", "two."), ("history", "three"),
        ("findings", "four"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Seen by Dr. Kim vs. the prior study. Next.", ["Seen by Dr. Kim vs. the prior study.", "Next."]),
        ("1. First item\n2. Second item", ["1. First item", "2. Second item"]),
        ("골전이 없음.퇴행성 변화", ["골전이 없음.", "퇴행성 변화"]),
        ("There is no evidence of\nmetastasis.", ["There is no evidence of\nmetastasis."]),
        ("명확한 골전이의\n소견은 없음", ["명확한 골전이의\n소견은 없음"]),
        ("Knees\nHips", ["Knees", "Hips"]),
        ("", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text, 0, len(text))] == sentences


def test_sizes_and_dates_neither_split_nor_count(lexicon: Lexicon) -> None:
    plain, full = "No metastasis in the focus.", "No 2.5 x 1.8 cm metastasis of 2021-03-05. in the focus."
    assert label_report(plain, lexicon).label == label_report(full, lexicon).label == "negative"
    assert fold("A 2.5 cm focus on 12/03/2021, 2019년 5월.").text.split() == ["A", "focus", "on", ",", "."]


# -------------------------------------------------------------------------------------------- any text
load_once = cache(load_lexicon)
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            "no metastasis metastases cannot exclude , . ; \n known bone 전이 없음 배제할 수 의심 IMPRESSION: 결론:"
            " \u200b \r\n \x00 2.5cm but rather than ? ( = @ - 1. Ｍ é 골전이".split(" ")
        ),
        max_size=40,
    ).map(" ".join),
)


@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_any_text_gives_a_label_whose_cue_stands_in_it(text: str) -> None:
    lexicon = load_once()
    found = label_report(text, lexicon)
    assert found.label in LABELS and text[found.span_start : found.span_end] == found.cue
    assert 0 <= found.span_start <= found.span_end <= len(text) and found.sentence.isprintable()
    assert label_report(text, lexicon) == found


@given(st.lists(st.integers(0, 0x10FFFF).filter(lambda code: code not in range(0x300, 0x370)).map(chr), max_size=60))
@settings(max_examples=100, deadline=None)
def test_folding_knows_where_each_character_came_from(characters: list[str]) -> None:
    text = "".join(characters)
    folded = fold(text)
    assert "\x00" not in folded.text and len(folded.starts or folded.text) == len(folded.text)
    spans = [folded.raw_span(at, at + 1) for at in range(len(folded.text))]
    assert spans == sorted(spans) and all(0 <= start < end <= len(text) for start, end in spans)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: unicodedata.normalize("NFD", text),
        lambda text: "\ufeff" + text.replace(" ", "\u200b "),
        lambda text: text.replace(" ", "\u00a0"),
        lambda text: text.replace("\n", "\r\n"),
        str.upper,
        lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    ],
)
@pytest.mark.parametrize("text", ["IMPRESSION:\nNo bone metastasis, 2.5 cm.", "결론:\n골전이를 배제할 수 없음."])
def test_how_the_characters_are_coded_changes_no_label(lexicon: Lexicon, text: str, change: object) -> None:
    changed = change(text)  # type: ignore[operator]
    found = label_report(changed, lexicon)
    assert found.label == label_report(text, lexicon).label
    assert changed[found.span_start : found.span_end] == found.cue


@pytest.mark.parametrize(
    "text",
    [
        "metastasis " * 5_000, "no " * 20_000, "a" * 60_000, "전이" * 30_000, " " * 60_000 + "x", "\n" * 60_000,
        "1. " * 20_000, "Impression: " * 5_000, "e\u0301" * 30_000, "cannot " + "word " * 12_000 + "exclude",
    ],
)  # fmt: skip
def test_a_huge_report_takes_seconds_not_minutes(lexicon: Lexicon, text: str) -> None:
    begun = time.process_time()
    label_report(text, lexicon)
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("", "none"),
        (" \t\r\n", "none"),
        ("\0", "none"),
        ("No bone\0 metastasis.", "negative"),
        ("Bone metastasis.\0\0\0", "positive"),
        (bytes(range(256)).decode("latin-1") * 4, "none"),
        ("\x1b[31mBone metastasis in L3.\x1b[0m", "positive"),
        ("\u202eBone metastasis in L3.", "positive"),
        ("골스캔 소견: multiple bone metastases 가 관찰됨.", "positive"),
        ("Impression: 골전이를 시사하는 소견 없음. Degenerative change, both knees.", "negative"),
        ("FINDINGS: increased uptake in L3.\n결론: bone metastasis 를 배제할 수 없음.", "uncertain"),
        ("Metástasis óseas. 骨転移あり。", "none"),
    ],
)
def test_what_is_no_clean_report_has_a_label_and_a_span_in_it(lexicon: Lexicon, text: str, label: str) -> None:
    found = label_report(text, lexicon)
    assert found.label == label
    assert text[found.span_start : found.span_end] == found.cue


def test_a_report_of_a_megabyte_is_labelled_by_its_impression(lexicon: Lexicon) -> None:
    padding = "Mild degenerative uptake in both knees, 2.1 cm. 양측 무릎의 퇴행성 변화. " * 14_000
    begun = time.process_time()
    found = label_report(f"FINDINGS: {padding}\nIMPRESSION: No bone metastasis.", lexicon)
    assert found.label == "negative" and time.process_time() - begun < 10


# -------------------------------------------------------------------------------------------- lexicon
def write_lexicon(folder: Path, text: str) -> Path:
    path = folder / "ours.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_hospital_adds_and_changes_phrases_without_code(tmp_path: Path) -> None:
    path = write_lexicon(
        tmp_path,
        "targets: [seeding]\nremove: [superscan]\nsections: {impression: [our verdict]}\ncues:\n"
        "  - {means: positive, direction: both, window: 5, phrases: [suspicious for]}\n",
    )
    ours, theirs = load_lexicon(extra=[path]), load_lexicon()
    changed = {
        "Suspicious for metastasis.": ("uncertain", "positive"),
        "Bone seeding in L3.": ("none", "positive"),
        "Superscan.": ("positive", "none"),
        "Bone metastasis.\nOUR VERDICT: no metastasis": ("positive", "negative"),
    }
    for text, labels in changed.items():
        assert (label_report(text, theirs).label, label_report(text, ours).label) == labels
    assert ours.sha256 != theirs.sha256 == load_lexicon().sha256


def test_a_lexicon_that_is_not_there_and_a_language_nobody_wrote() -> None:
    with pytest.raises(LexiconError, match="cannot be read"):
        load_lexicon(extra=["absent.yaml"])
    with pytest.raises(LexiconError, match="expected one of en, ko, auto"):
        load_lexicon("de")


@pytest.mark.parametrize(
    ("phrase", "matched", "not_matched"),
    [
        ("no", ["no lesion", "NO"], ["nose", "piano"]),
        ("metasta*", ["metastases", "Metastatic"], ["meta"]),
        ("bone|bony mets", ["bony mets", "bone  mets"], ["bone met", "bonemets"]),
        ("no ... change", ["no change", "no significant interval change"], ["no a b c d change", "no. change"]),
        ("배제할 수 없", ["배제할 수 없음", "배제할수없음", "배제할 수\n없다"], ["배제할 수 있음"]),
        ("^간 전이", ["간 전이", "다발 간전이"], ["기간 전이"]),
        ("work up", ["work up", "work-up"], ["workup"]),
        ("(-)", ["전이(-)"], ["-"]),
        ("a.*b", ["a.*b"], ["axxb"]),
    ],
)
def test_phrases_match_what_their_language_says(phrase: str, matched: list[str], not_matched: list[str]) -> None:
    found = compile_phrase(phrase)
    assert all(found.pattern.search(text) and found.may_match(text.lower()) for text in matched)
    assert not any(found.pattern.search(text) for text in not_matched)


# ---------------------------------------------------------------------------------------------- tables
def test_the_table_keeps_its_rows_and_columns_but_not_the_text(lexicon: Lexicon) -> None:
    reports = pd.DataFrame({"id": ["1", "2"], "text": ["Bone metastasis.", ""], "label": ["x", "y"]}, dtype="str")
    table = label_table(reports, lexicon)
    assert list(table.columns) == ["id", "input_label", *LABEL_COLUMNS]
    assert list(table["label"]) == ["positive", "none"] and list(table["span_end"]) == [15, 0]


def test_a_missing_text_column_is_told_with_those_there(lexicon: Lexicon) -> None:
    with pytest.raises(LabelError, match="'text' is not in the reports; they have: id"):
        label_table(pd.DataFrame({"id": ["1"]}), lexicon)
    both = pd.DataFrame({"text": ["x"], "label": ["a"], "input_label": ["b"]})
    with pytest.raises(LabelError, match="rename"):
        label_table(both, lexicon)


def test_an_explanation_names_phrases_and_repeats_nothing_of_the_report(lexicon: Lexicon) -> None:
    lines = explain("Hong Gildong has no lesion suspicious for metastasis.", lexicon)
    text = "\n".join(lines)
    assert "suspicious for|of -> uncertain; no -> negative" in text and "negative: decided by the findings" in text
    assert "Hong" not in text and "lesion" not in text
