"""Orders to ignore instructions, and to give a rating, in other languages than English: stems with short gaps."""

from __future__ import annotations

import re

from engine.injection.clues import Clue
from engine.injection.rules import Rule

_GAP = r"[^\n.。！!]{0,40}?"
_SHORT = r"[^\n.。！!]{0,12}?"
_BEST = r"(?<![-–~到至])" + "".join(f"(?<!{to} )" for to in ("bis", "à", "al", "a", "до")) + r"(?:9|10|[九十])"
"""The best of a scale; not the end of one: 1 bis 10."""


_IGNORE = re.compile(
    "|".join(
        (
            # German, Dutch, Swedish, Danish, Norwegian
            r"\b(?:ignorier|vergiss|vergessen sie|missacht|beachte nicht)\w{0,4}\b"
            + _GAP + r"(?:anweisung|anleitung|vorgaben|instruktion|regeln|befehle)",
            r"\b(?:negeer|vergeet)\b" + _GAP + r"(?:instructies|opdrachten|aanwijzingen|regels)",
            r"\b(?:ignorera?|glöm|glem|bortse)\b" + _GAP + r"(?:instruktion|anvisning|regler|instruks)",
            # French, Spanish, Portuguese, Italian
            r"\b(?:ignore[zrs]?|oublie[zrs]?|ne (?:tiens|tenez) pas compte)\b"
            + _GAP + r"(?:instructions|consignes|directives|règles|ordres)\b"
            + _GAP + r"(?:précédent|antérieur|ci-dessus|préalable|donné|reçu)",
            r"\b(?:ignor[ae]n?|olvid[ae]n?|haz caso omiso|no hagas caso)\b"
            + _GAP + r"(?:instrucciones|indicaciones|reglas|órdenes|directrices)",
            r"\b(?:ignorem?|esqueça|desconsidere|desconsidera)\b"
            + _GAP + r"(?:instruções|regras|orientações|ordens)",
            r"\b(?:ignora|ignorate|dimentica|dimenticate)\b" + _GAP + r"(?:istruzioni|regole|indicazioni|ordini)",
            # Polish, Czech, Russian, Ukrainian, Turkish
            r"\b(?:zignoruj|ignoruj|zapomnij)\w{0,3}\b" + _GAP + r"(?:instrukc|poleceni|polecen|zasad|wskazów)",
            r"\b(?:ignoruj|zapomeň)\w{0,3}\b" + _GAP + r"(?:pokyn|instrukc|příkaz)",
            r"(?:игнорир|забудь|не обращай внимани|не следуй)\w{0,4}\b"
            + _GAP + r"(?:инструкци|указани|правил|команд|распоряжени)",
            r"(?:ігнору|забудь)\w{0,4}\b" + _GAP + r"(?:інструкці|вказівк|правил|команд)",
            r"(?:talimat|yönerge|kural|komut)" + _GAP + r"(?:yok say|görmezden gel|unut|dikkate alma)",
            # Chinese, Japanese, Korean
            r"(?:忽略|无视|無視|忽視|忘记|忘記|不要理会)" + _SHORT + r"(?:指令|指示|规则|規則|提示|命令|说明"
            r"|(?:之前|以上|上述|上面|前面|所有|一切)[^\n。！]{0,6}要求)",
            r"(?:指示|命令|ルール|指令|プロンプト)" + _SHORT + r"(?:無視|忘れ)",
            r"(?:지시|명령|지침|규칙|프롬프트)" + _SHORT + r"(?:무시|잊)",
            # Finnish, Hungarian, Greek, Hebrew, Romanian
            r"\b(?:ohjeet|ohjeita|käskyt|sääntöjä)\b" + _GAP + r"(?:huomiotta|huomioimatta)|\bunohda\b"
            + _GAP + r"(?:ohje|käsky)",
            r"(?:figyelmen kívül|felejtsd el)" + _GAP + r"(?:utasítás|szabály)",
            r"(?:αγν[όο]ησ|ξ[έε]χασ)\w{0,4}\b" + _GAP + r"(?:οδηγί|εντολ|κανόν)",
            r"(?:התעלם|שכח)" + _GAP + r"(?:ההוראות|הוראות|הכללים)",
            r"\b(?:ignor[ăa]|uit[ăa])\w{0,3}\b" + _GAP + r"(?:instrucțiuni|reguli|indicații)",
            # Arabic, Hindi, Vietnamese, Indonesian
            r"(?:تجاهل|انس[َىي]?)\b" + _GAP + r"(?:التعليمات|الأوامر|تعليمات|القواعد)",
            r"(?:निर्देश|आदेश|नियम)" + _GAP + r"(?:अनदेखा|नज़रअंदाज|भूल|नजरअंदाज)",
            r"(?:bỏ qua|phớt lờ|quên)" + _GAP + r"(?:hướng dẫn|chỉ dẫn|chỉ thị|mệnh lệnh)",
            r"\b(?:abaikan|lupakan)\b" + _GAP + r"(?:instruksi|perintah|petunjuk|aturan)",
        )
    )
)  # fmt: skip
_RATED = re.compile(
    "|".join(
        (
            r"\b(?:bewerte|benote)\w{0,3} (?:diese|die) antwort\b" + _GAP + _BEST,
            r"\b(?:notez|note|évaluez|évalue) (?:cette|la) réponse\b" + _GAP + _BEST,
            r"\b(?:califi[cq]u?[ae]|puntúa|valora|evalúa) esta respuesta\b" + _GAP + _BEST,
            r"\b(?:avalie|classifique) esta resposta\b" + _GAP + _BEST,
            r"\b(?:valuta|vota) questa risposta\b" + _GAP + _BEST,
            r"(?:оцени|поставь)\w{0,3} (?:этот|этому) ответ\w{0,2}\b" + _GAP + _BEST,
            r"(?:这个|该|此|這個)(?:回答|回复|答案|回應)" + _SHORT + r"(?:评分|打分|評分|打)" + _SHORT + _BEST,
            r"(?:请|給|给)" + _SHORT + r"(?:回答|回复|答案)" + _SHORT + _BEST + "分",
            r"この(?:回答|応答|返答)" + _SHORT + r"(?:評価|採点|点)" + _SHORT + _BEST,
            r"이 (?:답변|응답)" + _SHORT + _BEST + " ?점",
        )
    )
)  # fmt: skip


_BEFORE = re.compile(
    r"(?:\bn['’]|\b(?:ne|non|no|nunca|n[ãa]o|не|nie|nu|nem|[äa]l[äa]|[äa]lk[äa]{2}|μην?|jangan|đ[ừu]ng|kh[ôo]ng)\s(?:\w{1,6}\s)?"
    r"|(?:不要|不能|不得|不可|切勿|请勿|勿|别|別|不|לא ת?|אל ת?|لا ت?))\Z"
)
_INSIDE = re.compile(r"\S{1,20} (?:sie |bitte )?(?:nicht|nie|niet|nooit|inte|ikke|aldrig|aldri)\b|.{0,40} न भूल")
_AFTER = re.compile(
    r"(?:し|する|れ)?(?:ない[でて]|ないよう|ないこと|てはいけ|てはなら|ては[だた]め|な。)|하?지 ?(?:마|말|않)"
    r"|m[ae](?:\b|y[ıi]n)"
)
"""Negations, with and without the marks of their letters: one reading of a text takes them off."""


def negated(lower: str, begin: int, end: int) -> bool:
    """Is an order its opposite: do not ignore, never forget the rules? ``begin``, ``end``: where it stands."""
    return bool(
        _BEFORE.search(lower, max(0, begin - 16), begin) or _INSIDE.match(lower, begin, end) or _AFTER.match(lower, end)
    )


_INSTRUCTIONS = Clue(
    (
        *("anweisung", "anleitung", "vorgaben", "instruktion", "regeln", "befehle", "instructies", "opdrachten"),
        *("aanwijzingen", "regels", "anvisning", "regler", "instruks", "instructions", "consignes", "directives"),
        *("règles", "ordres", "instrucciones", "indicaciones", "reglas", "órdenes", "directrices", "instruções"),
        *("regras", "orientações", "ordens", "istruzioni", "regole", "indicazioni", "ordini", "instrukc", "poleceni"),
        *("polecen", "zasad", "wskazów", "pokyn", "příkaz", "инструкци", "указани", "правил", "команд"),
        *(
            "распоряжени",
            "інструкці",
            "вказівк",
            "talimat",
            "yönerge",
            "kural",
            "komut",
            "指令",
            "指示",
            "规则",
            "規則",
        ),
        *("提示", "命令", "说明", "要求", "ルール", "プロンプト", "지시", "명령", "지침", "규칙", "프롬프트", "ohje"),
        *("käsky", "sääntöjä", "utasítás", "szabály", "οδηγί", "εντολ", "κανόν", "הוראות", "הכללים"),
        *("instrucțiuni", "reguli", "indicații", "التعليمات", "الأوامر", "تعليمات", "القواعد", "निर्देश", "आदेश", "नियम"),
        *("hướng dẫn", "chỉ dẫn", "chỉ thị", "mệnh lệnh", "instruksi", "perintah", "petunjuk", "aturan"),
    ),
)
"""What is to be ignored, in the same languages."""
RULES: tuple[Rule, ...] = (
    Rule(
        "override",
        (
            *("ignor", "vergiss", "vergess", "missacht", "beachte", "negeer", "vergeet", "glöm", "glem", "bortse"),
            *("oublie", "pas compte", "olvid", "omiso", "hagas caso", "esqueça", "desconsider", "dimentica"),
            *("zapomn", "zapome", "игнорир", "ігнору", "забудь", "не обращай", "не следуй"),
            *("yok say", "görmezden", "unut", "dikkate alma", "忽略", "无视", "無視", "忽視", "忘", "不要理会"),
            *("무시", "잊", "تجاهل", "انس", "अनदेखा", "नज़रअंदाज", "नजरअंदाज", "भूल", "bỏ qua", "phớt lờ", "quên"),
            *("abaikan", "lupakan", "huomio", "unohda", "figyelmen", "felejtsd", "αγνό", "αγνο", "ξέχασ", "ξεχάσ"),
            *("התעלם", "שכח", "uită", "uita"),
        ),
        _IGNORE,
        negated,
        (_INSTRUCTIONS,),
    ),
    Rule(
        "rating",
        (
            *("antwort", "réponse", "respuesta", "resposta", "risposta", "ответ", "回答", "回复", "答案", "回應"),
            *("応答", "返答", "답변", "응답"),
        ),
        _RATED,
    ),
)
