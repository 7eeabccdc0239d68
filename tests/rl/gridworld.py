"""A world that a small network learns within seconds: walk to the light square of a room of four by four."""

import numpy as np

from hubtune.rl import DataEfficientRainbow, Outcome

ROOM = 4
LIMIT = 16
MOVES = {"UP": (-1, 0), "RIGHT": (0, 1), "DOWN": (1, 0), "LEFT": (0, -1)}


class Room:
    """A reward of 1 for reaching the goal; the game is cut after 16 steps. A square is five pixels wide."""

    name = "Room"
    actions = tuple(MOVES)

    def __init__(self, settings: DataEfficientRainbow):
        self._side = settings.frame_size

    def reset(self, seed: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        self._goal = (1, 2)
        self._at = self._goal
        while self._at == self._goal:
            self._at = tuple(generator.integers(0, ROOM, 2).tolist())
        self._steps = 0
        return self._frame()

    def step(self, action: int) -> Outcome:
        self._steps += 1
        self._at = tuple(min(ROOM - 1, max(0, at + by)) for at, by in zip(self._at, MOVES[self.actions[action]], strict=True))
        over = self._at == self._goal
        return Outcome(self._frame(), float(over), over, cut=not over and self._steps == LIMIT)

    def picture(self) -> np.ndarray:
        return np.repeat(self._frame()[:, :, None], 3, axis=2)

    def close(self) -> None:
        pass

    def _frame(self) -> np.ndarray:
        frame = np.zeros((self._side, self._side), dtype=np.uint8)
        for (row, column), colour in ((self._goal, 120), (self._at, 255)):
            frame[5 * row : 5 * row + 5, 5 * column : 5 * column + 5] = colour
        return frame


class WideRoom(Room):
    """With two more actions, which do nothing."""

    name = "WideRoom"
    actions = (*MOVES, "WAIT", "WAIT LONGER")

    def step(self, action: int) -> Outcome:
        if action < len(MOVES):
            return super().step(action)
        self._steps += 1
        return Outcome(self._frame(), 0.0, False, cut=self._steps == LIMIT)


class Mortal(Room):
    """With three lives, of which running into a wall costs one."""

    name = "Mortal"

    def reset(self, seed: int) -> np.ndarray:
        self._lives = 3
        return super().reset(seed)

    def step(self, action: int) -> Outcome:
        before = self._at
        outcome = super().step(action)
        died = self._at == before
        self._lives -= died
        over = outcome.over or self._lives == 0
        return Outcome(outcome.frame, outcome.reward, over, outcome.cut and not over, died)
