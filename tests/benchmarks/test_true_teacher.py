"""The teacher of the benchmark with a real model gives back true rows, and knows no more than its request says."""

from __future__ import annotations

from benchmarks.world.planted_flaws import Row
from benchmarks.world.true_teacher import ASKS_BACK, TrueTeacher

SUM, SKY = Row("Add 2 and 3.", "The sum is 5."), Row("Why is the sky blue?", "Because blue light scatters most.")
PAIRS = [(Row(SUM.prompt, "No idea."), SUM), (Row("Do the thing.", SKY.answer), SKY)]
SPARE = [Row("Name a river.", "The Nile.")]
EDIT = "The prompt to rewrite:\n{0.prompt}\nThe response it got:\n{0.answer}\nReply between <prompt> and </prompt>."


def test_it_answers_a_prompt_that_it_knows() -> None:
    assert TrueTeacher(PAIRS, SPARE, right=1.0).reply(SUM.prompt) == SUM.answer
    assert TrueTeacher(PAIRS, SPARE, right=1.0).reply("Name a river.") == "The Nile."


def test_a_vague_prompt_alone_gets_a_question_back_and_with_its_response_the_true_prompt() -> None:
    teacher = TrueTeacher(PAIRS, SPARE, right=1.0)
    assert teacher.reply("Do the thing.") == ASKS_BACK
    assert teacher.reply(EDIT.format(PAIRS[1][0])) == f"<prompt>{SKY.prompt}</prompt>"


def test_a_new_prompt_is_a_spare_rows() -> None:
    request = f"The core prompt:\n{SUM.prompt}\nThe hint prompts:\n{SKY.prompt}\nReply between <prompt> and </prompt>."
    assert TrueTeacher(PAIRS, SPARE).reply(request) == "<prompt>Name a river.</prompt>"


def test_it_is_wrong_as_often_as_it_is_told_to_be_and_draws_again_where_it_is_asked_again() -> None:
    rows = [Row(f"Say the number {i}.", f"It is {i}.") for i in range(400)]
    teacher = TrueTeacher([(row, row) for row in rows], [], right=0.9)
    replies = [teacher.reply(row.prompt) for row in rows]
    assert 0.06 < sum(reply != row.answer for reply, row in zip(replies, rows, strict=True)) / 400 < 0.14
    again = [teacher.reply(row.prompt) for row in rows]
    wrong = [i for i, (reply, row) in enumerate(zip(replies, rows, strict=True)) if reply != row.answer]
    assert sum(again[i] == rows[i].answer for i in wrong) > 0.7 * len(wrong)
    same = TrueTeacher([(row, row) for row in rows], [], right=0.9)
    assert [replies, again] == [[same.reply(row.prompt) for row in rows] for _ in range(2)]
