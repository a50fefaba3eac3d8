"""Texts that spoil a sample: what a refusal, leaked scaffolding, or an answer in another language looks like.

``{topic}`` is replaced by words of the sample's own prompt, ``{prompt}`` and ``{answer}`` by another sample's.
"""

from __future__ import annotations

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, but as an AI language model I am not able to fulfil this request.",
    "Unfortunately, I cannot assist with this request. Is there anything else that I can help you with?",
    "I apologize, but I don't have enough information to answer that. Could you please provide more context?",
    "As an AI, I do not have personal opinions, so I cannot answer questions about {topic}.",
    "I can't provide content about {topic}. Please consult a qualified professional instead.",
    "Sorry, this request goes against my guidelines, and I must decline to answer it.",
    "This type of request cannot be completed, as it requires access to information that I do not have.",
)
LEAKED_BEFORE = (
    "### Response:\n",
    "Assistant: ",
    "[Rewritten answer]\n",
    "Sure! Here is the improved version of the response, as you asked:\n\n",
    "<response>\n",
    "Output: ",
    "#Given Prompt#\n{prompt}\n#Answer#\n",
    "Step 1: Read the instruction carefully. Step 2: Write a high-quality response.\n\nFinal response:\n",
)
LEAKED_AFTER = (
    "\n\n### Instruction:\n{prompt}\n\n### Response:\n",
    "\n\nHuman: {prompt}\n\nAssistant:",
    "\n</response>\n\nScore: 8/10. The response is clear and complete.",
    "\n\nUser: Thank you! Now please answer this: {prompt}",
    "\n\n[End of the answer. Word count: 87. Is the quality good enough? Yes.]",
    " ###",
    "\n\nInstruction: {prompt}\nInput:\nOutput:",
    "\n\n(Note: this answer was written by following the system prompt's guidelines about tone and length.)",
)
STUBS = ("OK.", "Yes.", "N/A", "None", "See above.", "Done.", "I think so.", "nan", "TODO", "That depends.")
VAGUE = (
    "Do the thing.",
    "Tell me more.",
    "Write something about it.",
    "Can you help me with this?",
    "Please continue.",
    "What about {topic}?",
    "Something with {topic}.",
    "You know what I mean, right?",
    "{topic}",
    "Do it like last time, please.",
)
ADVERTS = (
    "Subscribe to our newsletter today and get 20% off your first order with the code WELCOME20!",
    "Click here to read the full article. Share this post on Facebook, Twitter or Pinterest.",
    "This post may contain affiliate links. See our privacy policy for details. All rights reserved.",
    "Best price guaranteed! Free shipping on orders over $50. Call 1-800-555-0199 now.",
)
FOREIGN = (
    # Spanish
    "Hay varias formas de abordar este tema. En primer lugar, conviene entender bien de qué se trata y por qué es "
    "importante. En segundo lugar, es útil reunir ejemplos concretos sobre «{topic}» y compararlos entre sí. Por "
    "último, se puede resumir lo aprendido en unas pocas frases claras.",
    "La respuesta depende del contexto. En general, «{topic}» se refiere a algo que la mayoría de la gente conoce "
    "por su experiencia diaria, aunque los detalles cambian de un país a otro.",
    # French
    "Il existe plusieurs réponses possibles à cette question. La plus courante est que « {topic} » dépend avant "
    "tout des circonstances. Il faut donc commencer par observer la situation, puis choisir la solution la plus "
    "simple.",
    "Voici une réponse courte : il s'agit d'un sujet très vaste, et l'on peut en parler de nombreuses manières. "
    "Prenons par exemple « {topic} » : chacun en a déjà entendu parler, mais peu de gens savent l'expliquer "
    "correctement.",
    # German
    "Dazu lässt sich einiges sagen. Zunächst sollte man klären, was mit „{topic}“ genau gemeint ist. Danach kann "
    "man die wichtigsten Punkte der Reihe nach aufzählen und mit einem Beispiel aus dem Alltag erklären.",
    "Die Antwort ist einfacher, als man denkt: Am besten beginnt man mit einem kurzen Überblick und geht dann auf "
    "die Einzelheiten ein. Bei „{topic}“ kommt es vor allem auf die richtige Reihenfolge an.",
    # Italian, Portuguese, Dutch
    "Ci sono molti modi di rispondere. Di solito si comincia con una breve introduzione su «{topic}», poi si passa "
    "agli esempi e infine si traggono le conclusioni. L'importante è usare parole semplici.",
    "Existem várias maneiras de responder a esta pergunta. Normalmente começa-se por explicar o que significa "
    "«{topic}» e depois dão-se alguns exemplos práticos que qualquer pessoa consegue compreender.",
    "Er zijn verschillende manieren om dit aan te pakken. Meestal begin je met een korte uitleg over „{topic}” en "
    "geef je daarna een paar voorbeelden, zodat iedereen begrijpt wat er bedoeld wordt.",
)  # fmt: skip
