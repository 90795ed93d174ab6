"""Orders to a smart home, made by a grammar: twelve intents, slots, and phrasings that are kept for the test.

An order is a frame ("could you ... please") around a phrasing whose slots are filled at random. `TEST` phrasings never
occur in what is trained on, with labels or without; their words do, in other orders and in other company.
"""

from __future__ import annotations

import numpy as np

SLOTS = {
    "room": ("kitchen, bedroom, living room, bathroom, hall, office, garage, nursery, basement, dining room"),
    "lamp": "light, lights, lamp, lamps, ceiling light, spotlights, reading lamp, bulbs",
    "blind": "blinds, shutters, curtains, shades, roller blinds, drapes",
    "door": "front door, back door, garage door, garden gate, entrance, side door, cellar door",
    "degree": "15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27",
    "percent": "5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95",
    "minute": "one, two, three, five, ten, fifteen, twenty, 30, 45, 90",
    "food": "eggs, pasta, rice, pizza, tea, bread, cake, potatoes",
    "music": ("jazz, rock, some music, my playlist, classical music, the radio, a song, piano music, blues, an album"),
    "city": "berlin, paris, london, madrid, rome, oslo, vienna, prague",
    "day": "today, tomorrow, tonight, this weekend, on monday, on friday, this afternoon",
    "thing": "milk, bread, butter, apples, coffee, soap, batteries, cheese, onions, paper towels",
}

# intent -> phrasings to learn from, and phrasings of the test, one a line
INTENTS = {
    "light_on": (
        """
        turn on the {lamp} in the {room}
        turn the {room} {lamp} on
        switch on the {lamp}
        switch the {lamp} on in the {room}
        put the {lamp} on
        light up the {room}
        it is too dark in the {room}
        illuminate the {room}
        make the {room} bright
        i can not see anything in the {room}
        i need some light in the {room}
        {lamp} on
        """,
        """
        it is dark here , put on the {room} {lamp}
        i want the {lamp} on
        bring some light into the {room}
        the {room} is too dark to see anything
        get the {room} {lamp} switched on
        """,
    ),
    "light_off": (
        """
        turn off the {lamp} in the {room}
        turn the {room} {lamp} off
        switch off the {lamp}
        switch the {lamp} off in the {room}
        put out the {lamp}
        kill the {lamp} in the {room}
        no more light in the {room}
        make the {room} dark
        nobody is in the {room} , so no light there
        it is too bright to sleep in the {room}
        lights out in the {room}
        {lamp} off
        """,
        """
        make it dark in the {room} , nobody is there
        i want the {lamp} off
        the {room} {lamp} can be put out
        i can not sleep , kill the {room} {lamp}
        get the {room} {lamp} switched off
        """,
    ),
    "dim": (
        """
        dim the {lamp} to {percent} percent
        set the {lamp} in the {room} to {percent} percent
        lower the {lamp} a bit
        brightness {percent} percent
        reduce the brightness in the {room}
        make the {lamp} softer
        soften the {room} {lamp}
        dim the {room}
        a softer glow in the {room}
        {room} brightness at {percent} percent
        change the brightness of the {lamp} to {percent}
        only half as bright in the {room}
        """,
        """
        bring the {room} {lamp} down to {percent} percent brightness
        i would like the {lamp} softer and half as bright
        a dim glow in the {room}
        give the {lamp} a brightness of {percent}
        reduce the {lamp} to a soft glow
        """,
    ),
    "heating": (
        """
        set the temperature to {degree} degrees
        heat the {room} to {degree} degrees
        make the {room} warmer
        it is too cold in the {room}
        turn up the heating
        turn up the heating in the {room}
        i am freezing in the {room}
        {degree} degrees in the {room}
        warm up the {room}
        set the thermostat in the {room} to {degree}
        change the heating to {degree} degrees
        a bit warmer in here
        """,
        """
        i am cold , warm the {room} to {degree}
        put the {room} thermostat at {degree} degrees
        the {room} is freezing
        i want it warmer than {degree} degrees
        raise the heating , it is cold in the {room}
        """,
    ),
    "music_on": (
        """
        play {music}
        play {music} in the {room}
        put on {music}
        start {music}
        i want to hear {music}
        i want to listen to {music}
        let me hear {music} in the {room}
        how about {music}
        start playing {music}
        stream {music} in the {room}
        i am in the mood for {music}
        some {music} would be nice
        """,
        """
        let us listen to {music}
        {music} would be nice in the {room}
        i am in the mood to hear {music}
        stream and play {music}
        how about you put on {music} in the {room}
        """,
    ),
    "music_off": (
        """
        stop the music
        stop {music}
        pause {music} in the {room}
        stop playing
        be quiet
        silence in the {room}
        mute the speakers in the {room}
        no more {music}
        i do not want to hear {music}
        enough of {music}
        end the playback in the {room}
        turn off {music}
        """,
        """
        i have heard enough , no more {music}
        silence , stop playing {music}
        mute {music}
        end the music in the {room} , be quiet
        pause the playback
        """,
    ),
    "timer": (
        """
        set a timer for {minute} minutes
        start a timer for {minute} minutes
        wake me in {minute} minutes
        count down from {minute} minutes
        remind me in {minute} minutes
        timer for {minute} minutes
        {minute} minutes for the {food}
        tell me when {minute} minutes are over
        ring in {minute} minutes
        the {food} needs {minute} minutes
        call me when the {food} is done in {minute} minutes
        set an alarm in {minute} minutes
        """,
        """
        ring when {minute} minutes are over for the {food}
        alarm in {minute} minutes
        my {food} needs a timer
        start to count down {minute} minutes
        let me know in {minute} minutes that the {food} is done
        """,
    ),
    "weather": (
        """
        what is the weather in {city}
        how is the weather {day}
        will it rain {day}
        is it going to snow in {city}
        weather forecast for {city}
        do i need an umbrella {day}
        is it sunny in {city}
        how cold will it be in {city} {day}
        tell me the forecast {day}
        what will it be like outside {day}
        do i need a coat {day}
        is there a storm coming to {city}
        """,
        """
        does it rain or snow in {city} {day}
        umbrella or sunny {day}
        what is the forecast like for {city}
        should i take a coat , will it be cold outside {day}
        any storm or rain coming {day}
        """,
    ),
    "lock": (
        """
        lock the {door}
        lock up the {door}
        close and lock the {door}
        secure the {door}
        make sure the {door} is locked
        bolt the {door}
        nobody should come in through the {door}
        shut the {door} for the night
        is the {door} locked , if not lock it
        lock everything
        safe mode for the {door}
        keep the {door} shut
        """,
        """
        i want the {door} locked for the night
        bolt and secure the {door}
        nobody comes in , keep the {door} locked
        shut the {door} and make sure it is safe
        the {door} should be bolted
        """,
    ),
    "unlock": (
        """
        unlock the {door}
        open the {door}
        let my guests in through the {door}
        open up the {door}
        let me in
        unbolt the {door}
        somebody is at the {door} , let them in
        the {door} should be open for visitors
        release the lock of the {door}
        let the visitors in
        i am at the {door} , open it
        give them access through the {door}
        """,
        """
        visitors are at the {door} , open up
        release the {door}
        i am at the {door} with guests , let us in
        access through the {door} for my guests
        get the {door} unlocked
        """,
    ),
    "blinds_up": (
        """
        open the {blind} in the {room}
        raise the {blind}
        pull up the {blind} in the {room}
        let the sun in
        let the daylight into the {room}
        {blind} up in the {room}
        lift the {blind} in the {room}
        move the {blind} up
        i want to look outside through the {room} window
        draw back the {blind}
        let some sunshine into the {room}
        open all the {blind}
        """,
        """
        i want sunshine in the {room} , raise the {blind}
        get the {room} {blind} up
        lift all {blind} to let the daylight in
        let me look out of the {room} window
        draw the {blind} open
        """,
    ),
    "shopping": (
        """
        add {thing} to the shopping list
        put {thing} on the shopping list
        we need {thing}
        we are out of {thing}
        remember to buy {thing}
        i have to buy {thing}
        write down {thing} for the store
        note {thing} for the groceries
        order {thing}
        we ran out of {thing}
        buy {thing} and {thing}
        there is no {thing} left
        """,
        """
        no {thing} left , add it to the groceries
        note that we are out of {thing}
        the store list needs {thing}
        write {thing} and {thing} on the list
        do not forget to buy {thing}
        """,
    ),
}

FRAMES = [
    "{}", "{}", "{}", "please {}", "{} please", "hey , {}", "could you {}", "can you {} please", "would you {}",
    "ok {}", "{} now", "{} , thanks", "well , {}", "computer , {}", "{} right away",
]  # fmt: skip


def order(phrasing: str, rng: np.random.Generator) -> str:
    """One order of `phrasing`, in a frame, its slots filled: every slot anew where it occurs twice."""
    text = str(rng.choice(FRAMES)).format(phrasing)
    for name, values in SLOTS.items():
        while f"{{{name}}}" in text:
            text = text.replace(f"{{{name}}}", str(rng.choice(values.split(", "))), 1)
    return text.replace(" ,", ",")


def orders(count: int, *, test: bool, rng: np.random.Generator) -> list[tuple[str, str]]:
    """`count` distinct (order, intent) of every intent, of the phrasings of the test or of the others."""
    found = []
    for intent, phrasings in INTENTS.items():
        own: dict[str, None] = {}
        mine = [line.strip() for line in phrasings[test].strip().splitlines()]
        for turn in range(100 * count):
            own[order(mine[turn % len(mine)], rng)] = None
            if len(own) == count:
                break
        found += [(text, intent) for text in own]
    return found
