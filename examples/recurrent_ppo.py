"""Recurrent PPO that names the symbol of 4 steps ago: rollout, chunk and horizon are three numbers.

    -  h, (logits, values) = jax.lax.scan(step, jax.lax.stop_gradient(h), (obs, starts))
    +  stream, (logits, values) = stream_scan(with_resets(step, 0.0), stream, (obs, starts))

Look at: errors must reach 5 steps back, with chunks of 4: horizons 1 and 3 fail; stale states work.
"""

import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, init_stream, make_train_step, stream_scan, with_resets

HORIZONS = (1, 3, 8, 32)
SYMBOLS, SIZE, DELAY, AGENTS, ROLLOUT, CHUNK = 4, 32, 4, 32, 32, 4


def policy(params, h, obs):
    """A tanh RNN: (h [B, N], symbol [B]) -> (h, (log-probabilities [B, A], value [B]))."""
    h = jnp.tanh(params["symbols"][obs] + h @ params["recurrent"])
    return h, (jax.nn.log_softmax(h @ params["actor"]), h @ params["critic"])


@jax.jit
def act(params, key, world):
    """One rollout, [R, B] of each; an episode ends with probability 1/20 at each step."""

    def step(world, key):
        (h, past, start), keys = world, jax.random.split(key, 3)
        obs = jax.random.randint(keys[0], (AGENTS,), 0, SYMBOLS)
        past = jnp.concatenate([obs[:, None], jnp.where(start[:, None], -1, past)[:, :-1]], -1)
        h, (log_probs, value) = policy(params, jnp.where(start[:, None], 0, h), obs)
        action = jax.random.categorical(keys[1], log_probs)
        reward = jnp.where(past[:, DELAY] < 0, 0.25, action == past[:, DELAY])
        end = jax.random.bernoulli(keys[2], 1 / 20, (AGENTS,))
        return (h, past, end), (obs, start, action, log_probs, reward - value, reward)

    return jax.lax.scan(step, world, jax.random.split(key, ROLLOUT))


def loss_fn(params, stream, chunk):
    """PPO's clipped objective; an action changes nothing later, so the return is the reward."""
    obs, starts, action, old, advantage, reward = chunk
    step = with_resets(lambda h, obs: policy(params, h, obs), 0.0)
    stream, (new, values) = stream_scan(step, stream, (obs, starts))
    ratio = jnp.exp(jnp.take_along_axis(new - old, action[..., None], -1)[..., 0])
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
    return jnp.mean(0.5 * (values - reward) ** 2 - gain), stream


def train(horizon, num_rollouts, stale):
    """The mean reward of the last tenth of the rollouts; 0.25 is guessing."""
    keys, optimizer, rewards = jax.random.split(jax.random.key(0), 3), optax.adam(0.003), []
    params = {"actor": jnp.zeros((SIZE, SYMBOLS)), "critic": jnp.zeros(SIZE)}
    params["symbols"] = jax.random.normal(keys[0], (SYMBOLS, SIZE))
    params["recurrent"] = 0.9 * jax.random.orthogonal(keys[1], SIZE)
    world = jnp.zeros((AGENTS, SIZE)), jnp.full((AGENTS, DELAY + 1), -1), jnp.ones(AGENTS, bool)
    xs = jnp.zeros((1, AGENTS), jnp.int32), world[2][None]
    stream = init_stream(world[0], xs, horizon=horizon, stale=stale)
    learner = LearnerState(params, optimizer.init(params), stream)
    train_step = make_train_step(loss_fn, optimizer, donate=False)
    for i in range(num_rollouts):
        world, rollout = act(learner.params, jax.random.fold_in(keys[2], i), world)
        chunks = jax.tree.map(lambda x: x.reshape(-1, CHUNK, *x.shape[1:]), rollout)
        once, _ = jax.lax.scan(train_step, learner, chunks)
        again = once._replace(carry=learner.carry)  # another epoch over the same stretch
        learner, _ = jax.lax.scan(train_step, again, chunks)
        rewards.append(jnp.mean(rollout[-1]))
    return float(jnp.mean(jnp.stack(rewards[num_rollouts * 9 // 10 :])))


def main(num_rollouts=200):
    for horizon in HORIZONS:
        again, stale = (train(horizon, num_rollouts, stale) for stale in (False, True))
        print(f"horizon {horizon}: reward {again:.3f}, stale states {stale:.3f}", flush=True)


if __name__ == "__main__":
    main()
