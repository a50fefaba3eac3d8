"""Renders conversations with a chat template, and finds where each turn is in the rendered text.

``render`` is where training, scoring, judging and generation get their tokens, so all see the same ones: those of
``apply_chat_template``, for every template that TRL ships.

- ``template_inputs`` makes the forms in which a template may take a conversation, the fullest first: tools, calls,
  results and reasoning in its own arguments; then what it does not take written as text; then other roles (``roles``).
  What could not be passed as it is, is the row's ``note``; the train stage says how many rows have one.
- ``turn_layout`` runs the template on a form whose strings are replaced by marks. That tells where each answer begins
  and ends, and whether anything was lost: then the next form is tried. The strings are put back and compared with what
  the template makes of the real form, so text of the data that spells a special token stays text. A row that its
  template rewrites is cut by prefixes (``prefix_spans``) or refused.
- ``loss_mask`` says which tokens are learned: those that share a character with an answer's place in the text.
- ``tokenizer`` sees that every reply has an end that can be learned: where the template's end of turn is no token of
  the tokenizer, turns end with its end of text instead, also in the template that is saved with the tokenizer.
- Whether a reply begins with reasoning is passed to the template per row, by its last answer, and to generation
  likewise: what is asked is what is trained.
"""
