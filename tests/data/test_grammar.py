"""The three grammars of the sample corpus, against sentences made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.grammar import words
from data.grammar.corpus import LANGUAGES
from data.grammar.meaning import (
    Both,
    Clause,
    Command,
    Existence,
    Infinitive,
    Joined,
    Phrase,
    Predicate,
    Pronoun,
    Question,
    Sentence,
    Series,
    Statement,
    Tense,
    Thing,
    Time,
    Verb,
    Where,
    combinations,
)
from data.grammar.nouns import AT, FROM, NOUNS, TO
from data.grammar.verbs import AGES, SPECIAL, VERBS

ME, WE, HE, SHE, THEY = (Pronoun(word) for word in ("I", "we", "he", "she", "they"))
IT, WHO, WHAT = Pronoun("it"), Pronoun("who"), Pronoun("what")


def verb(name: str, which: int = 0) -> Verb:
    return [verb for verb in VERBS if verb.name == name][which]


def a(name: str, adjective: str = "", plural: bool = False, determiner: str = "a") -> Thing:
    quality = words.ADJECTIVES[adjective] if adjective else None
    return Thing(NOUNS[name], determiner, plural, quality)


def the(name: str, adjective: str = "", plural: bool = False) -> Thing:
    return a(name, adjective, plural, "the")


def that_one(thing: Thing) -> Pronoun:
    return Pronoun("which one", of=thing)


def at(time: str) -> Time:
    [found] = [item for item in words.TIMES + words.CLOCK if item.said.english == time]
    return found


def be(
    subject: Phrase, adjective: str, tense: Tense = Tense.NOW, than: Thing | None = None
) -> Clause:
    predicate = Predicate(words.ADJECTIVES[adjective], than=than)
    return Clause(subject, SPECIAL["be"], predicate=predicate, tense=tense)


def with_relative(thing: Thing, relative: Clause) -> Thing:
    return replace(thing, relative=relative)


ANNA, PAUL = a("Anna", determiner="none"), a("Paul", determiner="none")
OWN_KEY = a("key", determiner="own")

CASES: dict[str, tuple[Sentence, str, str, str]] = {
    # German cases and adjective endings; French places its adjectives before and after
    "nominative and accusative": (
        Statement(Clause(the("man", "old"), verb("buy", 1), a("hat", "new"), tense=Tense.PAST)),
        "The old man bought a new hat.",
        "Der alte Mann hat einen neuen Hut gekauft.",
        "Le vieil homme a acheté un nouveau chapeau.",
    ),
    "dative, weak noun": (
        Statement(
            Clause(
                the("woman", "young"),
                verb("give"),
                a("book", "interesting"),
                recipient=the("boy", "brave"),
            )
        ),
        "The young woman is giving the brave boy an interesting book.",
        "Die junge Frau gibt dem mutigen Jungen ein interessantes Buch.",
        "La jeune femme donne un livre intéressant au garçon courageux.",
    ),
    "dative plural": (
        Statement(Clause(ME, verb("help"), the("child", "sick", plural=True), tense=Tense.FUTURE)),
        "I will help the sick children.",
        "Ich werde den kranken Kindern helfen.",
        "J'aiderai les enfants malades.",
    ),
    "strong endings, partitive": (
        Statement(Clause(HE, verb("drink"), a("water", "cold"), tense=Tense.PAST)),
        "He drank cold water.",
        "Er hat kaltes Wasser getrunken.",
        "Il a bu de l'eau froide.",
    ),
    "plural: des, de before an adjective": (
        Statement(Clause(SHE, verb("have"), a("dog", "big", plural=True))),
        "She has big dogs.",
        "Sie hat große Hunde.",
        "Elle a de grands chiens.",
    ),
    "many": (
        Statement(Clause(WE, verb("see"), a("owl", "white", True, "many"), tense=Tense.PAST)),
        "We saw many white owls.",
        "Wir haben viele weiße Eulen gesehen.",
        "Nous avons vu beaucoup de hiboux blancs.",
    ),
    "mon before a feminine vowel": (
        Statement(be(a("cupboard", determiner="my"), "heavy")),
        "My cupboard is heavy.",
        "Mein Schrank ist schwer.",
        "Mon armoire est lourde.",
    ),
    "bel before a vowel": (
        Statement(Clause(a("bird", "beautiful", determiner="this"), verb("sing", 1))),
        "This beautiful bird is singing.",
        "Dieser schöne Vogel singt.",
        "Ce bel oiseau chante.",
    ),
    "this, h aspiré": (
        Statement(Clause(a("hamster", determiner="this"), verb("sleep"))),
        "This hamster is sleeping.",
        "Dieser Hamster schläft.",
        "Ce hamster dort.",
    ),
    "predicate agrees in French only": (
        Statement(be(the("princess", plural=True), "happy", Tense.PAST)),
        "The princesses were happy.",
        "Die Prinzessinnen waren glücklich.",
        "Les princesses étaient heureuses.",
    ),
    "comparison": (
        Statement(be(the("house"), "expensive", than=the("car"))),
        "The house is more expensive than the car.",
        "Das Haus ist teurer als das Auto.",
        "La maison est plus chère que la voiture.",
    ),
    "two subjects of both genders": (
        Statement(Clause(Both(ANNA, PAUL), verb("arrive"), time=at("yesterday"), tense=Tense.PAST)),
        "Anna and Paul arrived yesterday.",
        "Anna und Paul sind gestern angekommen.",
        "Anna et Paul sont arrivés hier.",
    ),
    # Places
    "place": (
        Statement(Clause(the("key"), SPECIAL["be"], where=Where(words.NEXT_TO, the("bed")))),
        "The key is next to the bed.",
        "Der Schlüssel ist neben dem Bett.",
        "La clé est à côté du lit.",
    ),
    "direction": (
        Statement(Clause(THEY, verb("run"), where=Where(TO["garden"], the("garden")))),
        "They are running into the garden.",
        "Sie laufen in den Garten.",
        "Ils courent dans le jardin.",
    ),
    "being somewhere": (
        Statement(
            Clause(
                the("boy"), verb("play"), where=Where(AT["garden"], the("garden")), tense=Tense.PAST
            )
        ),
        "The boy played in the garden.",
        "Der Junge hat im Garten gespielt.",
        "Le garçon a joué dans le jardin.",
    ),
    "origin": (
        Statement(Clause(HE, verb("come_back"), where=Where(FROM["school"], the("school")))),
        "He is coming back from school.",
        "Er kommt aus der Schule zurück.",
        "Il revient de l'école.",
    ),
    "lay and stand": (
        Statement(Clause(SHE, verb("put", 1), the("cup"), where=Where(words.ONTO, the("table")))),
        "She is putting the cup on the table.",
        "Sie stellt die Tasse auf den Tisch.",
        "Elle met la tasse sur la table.",
    ),
    "there is": (
        Existence(a("bear", "dangerous"), Where(AT["forest"], the("forest"))),
        "There is a dangerous bear in the forest.",
        "Im Wald gibt es einen gefährlichen Bären.",
        "Il y a un ours dangereux dans la forêt.",
    ),
    # The place of the verb
    "inversion after a time": (
        Statement(
            Clause(
                the("train"),
                verb("arrive"),
                where=Where(AT["Vienna"], a("Vienna", determiner="none")),
                time=at("at eight o'clock"),
                time_first=True,
                tense=Tense.HABIT,
            )
        ),
        "At eight o'clock, the train arrives in Vienna.",
        "Um acht Uhr kommt der Zug in Wien an.",
        "À huit heures, le train arrive à Vienne.",
    ),
    "modal with separable verb and clitic": (
        Statement(Clause(the("queen"), verb("invite"), HE, tense=Tense.NOW, modal=words.WANT)),
        "The queen wants to invite him.",
        "Die Königin will ihn einladen.",
        "La reine veut l'inviter.",
    ),
    "past of a modal, negated": (
        Statement(
            Clause(ME, verb("open"), the("door"), tense=Tense.PAST, modal=words.CAN, negated=True)
        ),
        "I could not open the door.",
        "Ich konnte die Tür nicht öffnen.",
        "Je ne pouvais pas ouvrir la porte.",
    ),
    "gern": (
        Statement(Clause(the("girl"), verb("play_football"), modal=words.LIKE)),
        "The girl likes to play football.",
        "Das Mädchen spielt gern Fußball.",
        "La fille aime jouer au football.",
    ),
    "because": (
        Joined(
            Clause(the("woman"), verb("stay_home")),
            words.BECAUSE,
            be(that_one(the("woman")), "sick"),
        ),
        "The woman is staying at home because she is sick.",
        "Die Frau bleibt zu Hause, weil sie krank ist.",
        "La femme reste à la maison parce qu'elle est malade.",
    ),
    "prefix stays on at the end": (
        Joined(
            Clause(ANNA, verb("write"), a("letter"), tense=Tense.BACKGROUND),
            words.WHEN_ONCE,
            Clause(the("doctor"), verb("arrive"), tense=Tense.ONCE),
            second_first=True,
        ),
        "When the doctor arrived, Anna was writing a letter.",
        "Als der Arzt ankam, schrieb Anna einen Brief.",
        "Quand le médecin est arrivé, Anna écrivait une lettre.",
    ),
    "that, perfect at the end": (
        Joined(
            Clause(ME, SPECIAL["know_that"]),
            words.THAT,
            Clause(HE, verb("go_home"), tense=Tense.PAST),
        ),
        "I know that he went home.",
        "Ich weiß, dass er nach Hause gegangen ist.",
        "Je sais qu'il est rentré à la maison.",
    ),
    "zu inside the verb": (
        Statement(
            Clause(
                PAUL,
                SPECIAL["forget"],
                tense=Tense.PAST,
                then=Infinitive(Clause(PAUL, verb("call"), the("uncle")), purpose=False),
            )
        ),
        "Paul forgot to call the uncle.",
        "Paul hat vergessen, den Onkel anzurufen.",
        "Paul a oublié d'appeler l'oncle.",
    ),
    "purpose": (
        Statement(
            Clause(
                WE,
                verb("go"),
                where=Where(TO["market"], the("market")),
                then=Infinitive(Clause(WE, verb("buy"), a("apple", plural=True)), purpose=True),
            )
        ),
        "We are going to the market to buy apples.",
        "Wir gehen auf den Markt, um Äpfel zu kaufen.",
        "Nous allons au marché pour acheter des pommes.",
    ),
    # Pronouns
    "pronoun takes the gender of each language": (
        Series(
            Clause(SHE, verb("buy"), a("apple"), tense=Tense.PAST),
            Clause(SHE, verb("eat"), that_one(a("apple")), tense=Tense.PAST),
        ),
        "She bought an apple and ate it.",
        "Sie hat einen Apfel gekauft und ihn gegessen.",
        "Elle a acheté une pomme et l'a mangée.",
    ),
    "two clitics": (
        Series(
            Clause(HE, verb("draw"), a("house"), tense=Tense.PAST),
            Clause(HE, verb("show"), that_one(a("house")), recipient=ME, tense=Tense.PAST),
        ),
        "He drew a house and showed it to me.",
        "Er hat ein Haus gezeichnet und es mir gezeigt.",
        "Il a dessiné une maison et me l'a montrée.",
    ),
    "clitic and negation": (
        Statement(Clause(the("king"), verb("thank"), SHE, tense=Tense.PAST, negated=True)),
        "The king did not thank her.",
        "Der König hat ihr nicht gedankt.",
        "Le roi ne l'a pas remerciée.",
    ),
    "reflexive": (
        Statement(Clause(SHE, verb("get_up"), adverb=words.NOT_YET, tense=Tense.PERFECT)),
        "She has not yet got up.",
        "Sie ist noch nicht aufgestanden.",
        "Elle ne s'est pas encore levée.",
    ),
    "possessive": (
        Joined(
            Clause(the("queen"), verb("look_for"), OWN_KEY),
            words.BUT,
            Clause(the("king"), verb("find"), OWN_KEY, tense=Tense.PAST),
        ),
        "The queen is looking for her key, but the king found his key.",
        "Die Königin sucht ihren Schlüssel, aber der König hat seinen Schlüssel gefunden.",
        "La reine cherche sa clé, mais le roi a trouvé sa clé.",
    ),
    # Negation
    "kein": (
        Statement(Clause(PAUL, verb("have"), a("car"), negated=True)),
        "Paul does not have a car.",
        "Paul hat kein Auto.",
        "Paul n'a pas de voiture.",
    ),
    "nicht before a preposition": (
        Statement(Clause(WE, verb("wait_for"), a("train"), tense=Tense.PAST, negated=True)),
        "We did not wait for a train.",
        "Wir haben nicht auf einen Zug gewartet.",
        "Nous n'avons pas attendu de train.",
    ),
    "never yet": (
        Statement(
            Clause(ME, verb("see"), a("elephant"), adverb=words.NEVER_YET, tense=Tense.PERFECT)
        ),
        "I have never seen an elephant.",
        "Ich habe noch nie einen Elefanten gesehen.",
        "Je n'ai jamais vu d'éléphant.",
    ),
    "hunger": (
        Statement(Clause(the("cat"), verb("be_hungry"), negated=True)),
        "The cat is not hungry.",
        "Die Katze hat keinen Hunger.",
        "Le chat n'a pas faim.",
    ),
    "fear of": (
        Statement(Clause(the("monkey"), verb("be_afraid"), the("lion"))),
        "The monkey is afraid of the lion.",
        "Der Affe hat Angst vor dem Löwen.",
        "Le singe a peur du lion.",
    ),
    "age": (
        Statement(Clause(a("brother", determiner="my"), AGES[3])),
        "My brother is eight years old.",
        "Mein Bruder ist acht Jahre alt.",
        "Mon frère a huit ans.",
    ),
    # Relative clauses
    "relative subject": (
        Statement(
            be(
                with_relative(the("man"), Clause(Pronoun("which", the("man")), verb("work"))),
                "rich",
            )
        ),
        "The man who is working is rich.",
        "Der Mann, der arbeitet, ist reich.",
        "L'homme qui travaille est riche.",
    ),
    "relative object, participle agrees": (
        Statement(
            be(
                with_relative(
                    the("flower", plural=True),
                    Clause(
                        the("artist"),
                        verb("paint"),
                        Pronoun("which", the("flower", plural=True)),
                        tense=Tense.PAST,
                    ),
                ),
                "red",
            )
        ),
        "The flowers that the artist painted are red.",
        "Die Blumen, die der Künstler gemalt hat, sind rot.",
        "Les fleurs que l'artiste a peintes sont rouges.",
    ),
    "relative in the dative": (
        Statement(
            Clause(
                ME,
                verb("know"),
                with_relative(
                    the("student"),
                    Clause(the("nurse"), verb("help"), Pronoun("which", the("student"))),
                ),
            )
        ),
        "I know the student whom the nurse is helping.",
        "Ich kenne den Studenten, dem die Krankenschwester hilft.",
        "Je connais l'étudiant que l'infirmière aide.",
    ),
    # Questions and commands
    "do-support": (
        Question(Clause(the("policeman"), verb("like"), a("cheese", determiner="kind"))),
        "Does the policeman like cheese?",
        "Mag der Polizist Käse?",
        "Est-ce que le policier aime le fromage ?",
    ),
    "who": (
        Question(Clause(WHO, verb("cook"), the("soup"))),
        "Who is cooking the soup?",
        "Wer kocht die Suppe?",
        "Qui prépare la soupe ?",
    ),
    "what": (
        Question(Clause(ANNA, verb("buy"), WHAT, tense=Tense.PAST)),
        "What did Anna buy?",
        "Was hat Anna gekauft?",
        "Qu'est-ce qu'Anna a acheté ?",
    ),
    "how many": (
        Question(Clause(SHE, verb("write"), a("letter", "", True, "how many"), tense=Tense.PAST)),
        "How many letters did she write?",
        "Wie viele Briefe hat sie geschrieben?",
        "Combien de lettres est-ce qu'elle a écrites ?",
    ),
    "where": (
        Question(Clause(the("hat", plural=True), SPECIAL["be"]), words.WHERE),
        "Where are the hats?",
        "Wo sind die Hüte?",
        "Où sont les chapeaux ?",
    ),
    "where to": (
        Question(Clause(the("farmer"), verb("go"), tense=Tense.PAST), words.WHERE_TO),
        "Where did the farmer go?",
        "Wohin ist der Bauer gegangen?",
        "Où est-ce que l'agriculteur est allé ?",
    ),
    "command": (
        Command(Clause(ME, verb("read"), the("book")), polite=False),
        "Read the book!",
        "Lies das Buch!",
        "Lis le livre !",
    ),
    "polite command, reflexive": (
        Command(Clause(ME, verb("get_up")), polite=True),
        "Please get up.",
        "Stehen Sie bitte auf.",
        "Levez-vous, s'il vous plaît.",
    ),
    "negative command": (
        Command(Clause(ME, verb("invite"), the("neighbour"), negated=True), polite=False),
        "Do not invite the neighbour!",
        "Lade den Nachbarn nicht ein!",
        "N'invite pas le voisin !",
    ),
    "clitic after a command": (
        Command(Clause(ME, verb("bring"), a("tea"), recipient=ME), polite=False),
        "Bring me tea!",
        "Bring mir Tee!",
        "Apporte-moi du thé !",
    ),
    "weather": (
        Statement(Clause(IT, SPECIAL["be_cold"], tense=Tense.PAST)),
        "It was cold.",
        "Es war kalt.",
        "Il faisait froid.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_grammar(case: str) -> None:
    sentence, *expected = CASES[case]
    assert [say(sentence) for say in LANGUAGES.values()] == expected


def test_combinations_are_who_does_what_with_what() -> None:
    sentence, *_ = CASES["relative in the dative"]
    assert combinations(sentence) == ["I/know/student/", "nurse/help/student/"]
    sentence, *_ = CASES["comparison"]
    assert combinations(sentence) == ["house/be//expensive"]
    sentence, *_ = CASES["there is"]
    assert combinations(sentence) == ["bear/exist/forest/"]
