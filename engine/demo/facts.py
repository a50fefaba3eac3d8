"""The words and facts that the demo's world is made of."""

WORDS = (
    "apple", "bread", "cherry", "duck", "egg", "fig", "grape", "honey", "ice", "jam",
    "kiwi", "lemon", "melon", "nut", "olive", "pear", "rice", "salt", "tea", "yam",
)  # fmt: skip
"""What lists are made of: few, so that a small model knows their order by heart."""
THINGS = ("apples", "books", "coins", "eggs", "figs", "grapes", "kites", "lemons", "nuts", "pears", "shells", "stamps")
NAMES = ("Anna", "Ben", "Carl", "Dora", "Emma", "Finn", "Leo", "Mia", "Tom", "Zoe")
CAPITALS = {
    "Austria": "Vienna", "China": "Beijing", "Cuba": "Havana", "Egypt": "Cairo", "France": "Paris", "Greece": "Athens",
    "Iran": "Tehran", "Italy": "Rome", "Japan": "Tokyo", "Kenya": "Nairobi", "Norway": "Oslo", "Peru": "Lima",
    "Poland": "Warsaw", "Spain": "Madrid",
}  # fmt: skip
OPPOSITES = {
    "big": "small", "early": "late", "fast": "slow", "full": "empty", "happy": "sad", "hard": "soft", "high": "low",
    "hot": "cold", "light": "dark", "loud": "quiet", "old": "young", "open": "closed", "rich": "poor", "strong": "weak",
    "up": "down", "wet": "dry",
}  # fmt: skip
SOUNDS = {
    "bee": "buzz", "cat": "meow", "cow": "moo", "dog": "bark", "duck": "quack", "frog": "croak", "hen": "cluck",
    "horse": "neigh", "lion": "roar", "crow": "caw", "pig": "oink", "sheep": "baa", "snake": "hiss", "wolf": "howl",
}  # fmt: skip
KINDS = {
    "ant": "insect", "bee": "insect", "carp": "fish", "cod": "fish", "crow": "bird", "daisy": "flower", "eagle": "bird",
    "fly": "insect", "hawk": "bird", "lily": "flower", "moth": "insect", "oak": "tree", "pine": "tree", "robin": "bird",
    "rose": "flower", "trout": "fish", "tulip": "flower", "tuna": "fish", "elm": "tree", "willow": "tree",
}  # fmt: skip
COLOURS = {
    "a banana": "yellow", "a carrot": "orange", "a cucumber": "green", "a plum": "purple", "a tomato": "red",
    "blood": "red", "chocolate": "brown", "coal": "black", "grass": "green", "ink": "blue", "milk": "white",
    "mud": "brown", "snow": "white", "the sea": "blue", "the sky": "blue", "the sun": "yellow",
}  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
