"""Tokenising and detokenising: whole characters only, whatever the tokens (FE-12, SD-11)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from armature.errors import ArmatureError
from armature.serving.frontend.template import TemplateRefused, load_template
from armature.serving.frontend.tokens import ByteTokeniser, HfTokeniser, load_tokeniser
from armature.serving.mocker.text import Speaker
from armature.serving.transport.messages import pack_tokens, unpack_tokens


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """A real byte-level BPE tokeniser, trained here; rare characters fall apart into several tokens."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        ["the model reads a prompt and writes one token after another"] * 4, trainer
    )
    directory = tmp_path_factory.mktemp("model")
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "bos_token": {"content": "<|im_start|>"},
        "eos_token": "<|im_end|>",
        "chat_template": "{% for m in messages %}\n{{ bos_token + m['role'] + '\\n' + m['content'] + eos_token }}\n"
        "{% endfor %}\n{% if add_generation_prompt %}{{ bos_token }}assistant\n{% endif %}",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


TEXTS = st.text(st.sampled_from('the model é漢🦆👩‍👩‍👧 \n"\\'), max_size=40)


@settings(max_examples=80, deadline=None)
@given(text=TEXTS)
def test_text_survives_tokens_one_at_a_time(model_dir, text):
    for tokeniser in (ByteTokeniser(), HfTokeniser(model_dir)):
        stream = tokeniser.detokeniser()
        parts = [stream.feed([token]) for token in tokeniser.encode(text, add_special=False)]
        assert "\ufffd" not in "".join(parts)
        assert "".join(parts) + stream.end() == text


@settings(max_examples=60, deadline=None)
@given(tokens=st.lists(st.integers(0, 399), max_size=40))
@example(tokens=[0, 0, 0, 0, 128, 96])  # special tokens without text, then a character of two tokens
@example(tokens=[128, 128, 128, 128, 128, 96])  # broken bytes, then one
def test_any_tokens_become_text_and_never_stay_held(model_dir, tokens):
    """Broken UTF-8 shows as U+FFFD, at the latest a few tokens later."""
    tokeniser = HfTokeniser(model_dir)
    stream = tokeniser.detokeniser()
    text = "".join(stream.feed([token]) for token in tokens) + stream.end()
    whole = tokenizers.Tokenizer.from_file(str(model_dir / "tokenizer.json")).decode(tokens)
    assert text.replace("\ufffd", "") == whole.replace("\ufffd", "")


def test_a_model_without_files_speaks_bytes(tmp_path):
    assert load_tokeniser(None).encode("é", add_special=True) == [0xC3, 0xA9]
    assert "byte-level" in load_tokeniser(tmp_path).description
    assert "plain" in load_template(tmp_path).description


def test_broken_files_are_a_foreseen_error(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ArmatureError, match="not a tokeniser"):
        load_tokeniser(tmp_path)
    with pytest.raises(ArmatureError, match="Cannot read"):
        load_template(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{% if %}"}')
    with pytest.raises(ArmatureError, match="broken"):
        load_template(tmp_path)


def test_the_models_own_template_and_special_tokens(model_dir):
    prompt = load_template(model_dir).render([{"role": "user", "content": "hi & <b>"}])
    assert prompt == "<|im_start|>user\nhi & <b><|im_end|>\n<|im_start|>assistant\n"
    tokens = load_tokeniser(model_dir).encode(prompt, add_special=False)
    assert tokens[0] == 0  # the special token is one token


def test_a_template_that_refuses_says_why_and_cannot_reach_out(tmp_path):
    own = tmp_path / "chat_template.jinja"
    own.write_text("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(TemplateRefused, match="alternate"):
        load_template(tmp_path).render([])
    own.write_text("{{ messages.__class__.__mro__ }}")
    with pytest.raises(TemplateRefused, match="unsafe"):
        load_template(tmp_path).render([])
    own.write_text(
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}"
    )
    assert load_template(tmp_path).render([{"a": "é<"}, {}]) == '{"a": "é<"}'


def test_a_mocker_says_the_same_words_on_every_worker(model_dir):
    for tokeniser in (ByteTokeniser(), HfTokeniser(model_dir)):
        prompt = pack_tokens([1, 2, 3])
        one, two = (Speaker(tokeniser, 0).answer(prompt) for _ in range(2))
        other = Speaker(tokeniser, 1).answer(prompt)
        said = [one[index] for index in range(one.natural_length)]
        assert said == [two[index] for index in range(two.natural_length)]
        assert said != [other[index] for index in range(one.natural_length)]
        text = _text(tokeniser, said)
        assert all(word.isalpha() for word in text.split())
        assert 16 <= len(text.split()) <= 64


def _text(tokeniser, tokens: list[int]) -> str:
    stream = tokeniser.detokeniser()
    return stream.feed(tokens) + stream.end()


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_packed_tokens_come_back(tokens):
    assert unpack_tokens(pack_tokens(tokens)).tolist() == tokens
