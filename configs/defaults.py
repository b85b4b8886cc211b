"""Every setting of every stage, once: its value, its unit and what it does. Experiment files state only differences.

A config file is a function ``get_config(arg)`` that starts from ``defaults()``. On the command line a setting is
changed by ``--config.train.learning_rate=1e-5``; an unknown key is an error.
"""

from ml_collections import ConfigDict

from s3ft_jax.config import parse_arg  # noqa: F401  (config files take it from here)


def defaults() -> ConfigDict:
    """All settings with their values."""
    return ConfigDict(
        {
            "title": "",  # heading of the report; empty: made from task and model
            "model": {
                "path": "",  # Hugging Face folder, hub id, or "pocket" for the model that ships with s3ft_jax
                "chat_template": "",  # file with a chat template, for tokenizers that have none
                # variables of the chat template, further ones as well; a template that does not use one stays as it is
                "template_args": {
                    "enable_thinking": False,  # True: Qwen3, SmolLM3 think before they answer (raise max_new_tokens)
                },
                "max_positions": 0,  # longest sequence, in tokens; 0: the model's own (longrope: its original length)
                "dtype": "float32",  # of the imported parameters: float32 or bfloat16
            },
            "mesh": {
                "data": -1,  # devices along the batch; -1: all that are left
                "fsdp": 1,  # devices over which each parameter is split
                "tensor": 1,  # devices over which heads and mlp are split
            },
            "task": task_defaults(),
            "general": {
                "tasks": ("pocket/skills",),  # skills that are only measured, never trained on
                "limit": 0,  # examples per task; 0: all
            },
            "sample": {
                "num_own": 1,  # own answers per training question
                "num_paraphrase": 1,  # paraphrases of gold per question
                "num_repair": 1,  # repairs per question without a right own answer
                # continue: the model goes on from a beginning of gold; mend: it is shown gold and its own wrong answer
                "repair": "continue",
                "repair_frac": 0.5,  # share of gold's tokens handed over; cut at the nearest line or sentence border
                "repair_prompt": "",  # of mend, with {question}, {gold} and {wrong}; empty: MEND_PROMPT of repairs.py
                "temperature": 0.7,  # 0: greedy
                "top_k": 0,  # 0: off
                "top_p": 1.0,  # 1: off
                "min_p": 0.0,  # 0: off
                "repetition_penalty": 1.0,  # 1: off
                "stop": (),  # texts that end a response, beside the model's end tokens; it is cut before them
                "max_new_tokens": 512,  # tokens; an own answer that reaches this is cut and never trained on
                "seed": 0,  # of the random key of every token
                "num_slots": 0,  # responses decoded side by side; 0: as many as memory has room for, 16 on a CPU
                "chunk_steps": 16,  # decode steps between two looks of the host
                "activation_dtype": "",  # float32 or bfloat16; empty: model.dtype
                "cache_dtype": "",  # of keys and values: float32 or bfloat16; empty: as the activations
                "attention": "",  # empty: what suits the device; or xla, pallas (TPU) or layered (CPU)
                "exact": True,  # the same bits in any company and order; False may be faster
                "tensor": 0,  # chips that share a copy of the model; 0: the fewest that hold it
                "num_replicas": 0,  # copies on each host, with num_slots each; 0: all its chips, on a CPU one
                "shard_size": 256,  # examples per file; a kill loses the files under way, none is waited for
                # who samples from the base; tuned models are always sampled by our own engine
                "outside": {
                    "endpoint": "",  # empty: our own engine; else an address, e.g. http://localhost:8000/v1
                    "name": "",  # the model's name there
                    "key_variable": "OPENAI_API_KEY",  # environment variable that holds the key
                    "num_parallel": 64,  # requests under way at once
                    "retries": 8,  # further tries of a request that failed for a moment; 8 take three minutes or less
                    "seconds": 600.0,  # that the server may send nothing before a try has failed
                },
            },
            "judge": {
                # empty: the task's own; else a judge of ours, my_module:my_judge, or several put together:
                # first(numbers, model), all(length(1, 200), answers); see s3ft_jax/judges/composition.py
                "name": "",
                "second": "",  # a second judge, whose verdicts stand beside the first one's in the report
                "num_workers": 0,  # processes; 0: one per core
                "cache": True,  # keep verdicts in the workdir, so that the same text is never judged twice
                "unsafe": False,  # run model-written programs even where no sandbox can be had
                "model": {  # what the judge `model` asks
                    "path": "",  # Hugging Face folder or hub id; empty: the model being tuned, before tuning
                    "endpoint": "",  # or an OpenAI-compatible address, e.g. http://localhost:8000/v1
                    "name": "",  # the model's name there
                    "key_variable": "OPENAI_API_KEY",  # environment variable that holds the key
                    "num_parallel": 16,  # requests under way at once
                    "prompt": "",  # empty: PROMPT of s3ft_jax/judges/model.py
                    "max_new_tokens": 256,  # tokens of a reply
                    "least_canaries": 0.8,  # share of each kind of canary that must pass, or the run stops
                },
                # for experiments on what a poor judge does: the share of wrong training responses that are taken for
                # right, on purpose, and of right ones for wrong; what is scored is never disturbed
                "noise": {"false_accepts": 0.0, "false_rejects": 0.0, "seed": 0},
                "leak_filter": True,  # a paraphrase or mended answer that speaks of "the reference answer" is wrong
            },
            "methods": ("sft", "ssr", "sdft", "s3ft"),  # what to compare; see s3ft_jax/selection.py
            "select": {
                # which of several right responses: first, likeliest (per token), or diverse (the one whose edit
                # distance from the others is largest)
                "pick": "first",
                "max_targets": 0,  # responses kept per question by a method that keeps all (rft), most diverse; 0: all
                "paraphrase_gate": "",  # likelier: a right paraphrase must also be likelier than gold under the base
            },
            "replay": replay_defaults(),
            "train": train_defaults(),
            "benchmark": {
                # general benchmarks of lm-evaluation-harness (pip install 's3ft_jax[eval]'), e.g. ("mmlu", "hellaswag",
                # "winogrande", "truthfulqa_mc2"), before and after; empty: none
                "tasks": (),
                "data": "",  # folder of local copies, see s3ft_jax/harness/local_data.py; empty: the hub
                "shots": -1,  # examples before each question; -1: what the task says
                "chat": False,  # put questions through the chat template, shots as turns
                "system": "",  # text of the system turn
                "limit": 0,  # items of each task; 0: all
                "max_new_tokens": 512,  # of answers whose task sets no limit
                "seed": 1234,  # of the draw of shots, and of answers that are sampled
            },
            "evaluate": {
                "split": "test",  # test, or validation while choosing settings
                "general": True,  # score the general skills too
                "temperature": 0.0,  # 0: greedy
                "max_new_tokens": 512,  # tokens
                "stop": (),  # as sample.stop
                "limit": 0,  # examples of the task; 0: all
                "batch_tokens": 2048,  # tokens per row when scoring responses by likelihood
                "kl": 128,  # questions of the split on whose answers by the base KL(base || model) is measured; 0: none
            },
            "compare": compare_defaults(),
            "export": {
                "form": "merged",  # merged: a whole model; adapter: a PEFT folder, of a method tuned with lora
            },
            "report": {
                "control": "",  # workdir of a control run (gold in a near style) shown beside this one
                "reference": "",  # gsm8k, mbpp, nq or ssr: the paper's numbers of it, shown beside the measured ones
                "notes": (),  # sentences printed in the report as they are
                # examples to browse of each fate (regressed, fixed, unchanged), with all answers; and items of each
                # general skill and benchmark; fewer where the page has no room
                "num_browse": 25,
                "num_scored": 128,  # training examples whose log-probability under the base is drawn
            },
        }
    )


def task_defaults() -> ConfigDict:
    """What is asked: the target task and its rows."""
    return ConfigDict(
        {
            "name": "",  # a key of s3ft_jax.tasks.TASKS, e.g. gsm8k
            "data": "",  # file, folder, hub id or tfds:name/config; empty: the task's own default
            "splits": ConfigDict(),  # e.g. {"test": "other.jsonl"}: where a split lies if not in data
            "columns": ConfigDict(),  # e.g. {"question": "query", "input": "context"}: your column names
            "bad_rows": "error",  # a row that cannot be used: error, or skip (counted and listed)
            "limit": 0,  # rows per split; 0: all
            "num_train": 0,  # training questions; 0: all (or the pocket task's 1024)
            "num_validation": 256,  # held out of train where the data has no validation split
            "num_test": 0,  # test questions; 0: all (or the pocket task's 600)
            "seed": 0,  # of generated tasks and of seeded splits
            "split_fracs": (0.8, 0.1, 0.1),  # train, validation, test where one file serves for all
            "keep_marks": False,  # keep GSM8K's calculator marks <<48/2=24>> in gold
            "min_f1": 0.6,  # token F1 from which the answers judge accepts
            "unanswerable_frac": 0.0,  # share of questions given a passage without the answer; task unanswerable
            "gold_style": "mid",  # pocket tasks: near, mid or far from the model's own style
            # your own wording, with {question}, in custom rows also with any {column}; empty: the task's
            "prompt": "",
            "paraphrase_prompt": "",  # with {question} and {gold}; empty: the task's
            "system": "",  # text of a system turn for all rows that have none; custom rows: with any {column}
            "refusal": "The passage does not say.",  # gold of questions without an answer; unanswerable, custom
        }
    )


def replay_defaults() -> ConfigDict:
    """General rows that the methods with replay (sft-replay, s3ft-replay) mix into training."""
    return ConfigDict(
        {
            "task": "",  # custom for rows of your own, or a key of s3ft_jax.tasks.TASKS, whose train split is taken
            "data": "",  # file, folder, hub id or tfds:name/config, as task.data
            "splits": ConfigDict(),  # e.g. {"train": "chats.jsonl"}, as task.splits
            "columns": ConfigDict(),  # e.g. {"question": "query"}, as task.columns
            "bad_rows": "error",  # a row that cannot be used: error, or skip (counted and listed)
            "limit": 0,  # rows read; 0: all
            "frac": 0.01,  # share of the training rows that are general ones
            "seed": 0,  # of the draw of rows, and of generated ones
        }
    )


def compare_defaults() -> ConfigDict:
    """``s3ft compare``: which settings are tried for each method, and what stands beside the methods."""
    return ConfigDict(
        {
            "learning_rates": (),  # peak rates to try; empty: each method's own
            "num_steps": (),  # optimizer steps to try; empty: each method's own
            # seeds of train.seeds, from the first on, that every point of the grid is tuned with; 0: all. The chosen
            # point is always tuned with all
            "search_seeds": 0,
            # which point of its grid a method gets, by its validation score: one_stderr (the lowest rate, then the
            # fewest steps, within a standard error of the best) or best
            "rule": "one_stderr",
            # further contenders, e.g. {"s3ft-dft": "s3ft@loss.dft=true"}: name -> METHOD@setting=value,...
            "variants": ConfigDict(),
            "baselines": ("few-shot", "sft-low-rate", "sft-replay"),  # what stands beside the methods
            "low_rate": 0.1,  # of sft-low-rate: share of the rate chosen for sft
            "shots": 4,  # of few-shot: training examples before each question, fewer where they do not fit
            "benchmark_all": True,  # benchmarks at every point of the grid; False: of the chosen ones alone
            "keep": "chosen",  # which tuned models are kept: chosen, or all
        }
    )


def train_defaults() -> ConfigDict:
    """Fine-tuning."""
    return ConfigDict(
        {
            "tune": "full",  # full, or lora
            "lora": {
                "rank": 8,  # S3FT section 4 by way of digests: 8 / 16 / 0.1
                "alpha": 16.0,  # scale is alpha / rank
                "rank_stabilized": False,  # rsLoRA: scale is alpha / sqrt(rank)
                "dropout": 0.1,  # share of the adapter's input
                # among q k v o gate up down, or all, attention, mlp, or patterns such as '*'; in every layer; the paper
                # does not say
                "targets": ("q", "v"),
                "base_dtype": "",  # of frozen kernels in training: bfloat16 or int8 (error is told); empty: as imported
            },
            "freeze": (),  # patterns of parameters that must not learn, e.g. ("embedding", "blocks.*_norm.scale")
            "loss": {
                "average": "token",  # every trained token counts alike, or every example: token or example
                "dft": False,  # weigh each token by its own probability (arXiv 2508.05629)
                "mask_above": 0.0,  # nats; gold's tokens of a higher loss under the base are masked (STM: 2.5); 0: off
                "kl": 0.0,  # factor of KL(base || model) at each trained token; 0: off
                "label_smoothing": 0.0,  # share of each target spread over all tokens
                "z_loss": 0.0,  # factor of log^2 of the softmax's denominator, e.g. 1e-4
            },
            "optimizer": "adamw",  # adamw, adafactor, lion or muon
            "learning_rate": 1e-5,  # peak
            "num_steps": 100,  # optimizer steps
            # or: passes over the training questions, as many steps for each method; 0: num_steps. Whichever of the two
            # is stated last, or for one method alone, counts
            "num_epochs": 0.0,
            "num_questions": 0,  # training questions there are, for num_epochs; filled in once they are prepared
            "batch_size": 16,  # examples per optimizer step, in as many rows as they need
            "batch_rows": 0,  # or: rows of max_length tokens per step, filled with what fits; 0: batch_size
            "accumulation": 1,  # micro-batches per step
            "max_length": 1024,  # tokens of a row; prompt and response of an example must fit
            "too_long": "error",  # an example that does not fit: error, or drop (counted and named)
            # passes over the questions after which methods that train on own answers have them sampled and judged anew,
            # by the model as it is then; 0: never
            "refresh_epochs": 0.0,
            "num_examples": 0,  # a seeded subset of the training questions; 0: all
            "seeds": (0,),  # one tuning per seed; the seed draws the subset and the order
            "warmup_frac": 0.1,  # share of the steps
            "flat_frac": 0.0,  # share of the steps at the peak; then linear decay
            "final_frac": 0.0,  # rate that it falls to after the last step, share of the peak
            "schedule": "linear",  # how the rate falls: linear, cosine, or constant (not at all)
            "b1": 0.9,  # first moment (adamw, lion)
            "b2": 0.99,  # second moment (adamw, lion)
            "eps": 1e-8,  # adamw
            "weight_decay": 0.0,  # times learning rate and parameter
            "decay_on": (),  # patterns of the parameters that decay; empty: all but norms and biases
            "ema_decay": 0.0,  # of a moving average of the parameters, e.g. 0.99, which is then the tuned model; 0: off
            "clip_norm": 1.0,  # global gradient norm; 0: off
            "chunk_tokens": 0,  # tokens whose logits exist at a time; 0: as many as give a device 256 MiB of them
            "remat": "none",  # what the backward pass recomputes of a layer: none, dots (all but products), full
            "attention": "auto",  # xla, chunked, cudnn or splash; auto: what suits device, dtype and model
            "activation_dtype": "float32",  # float32 or bfloat16
            # of the parameters while all of them are tuned: float32, or bfloat16, which takes half the memory and loses
            # every update below 1/256 of a weight
            "param_dtype": "float32",
            "check_memory": True,  # stop before sampling where the estimate does not fit; False: say so, and go on
            "save_every": 50,  # steps between checkpoints
            "keep": 2,  # newest checkpoints kept while a run goes on; at its end the tuned model alone
            "max_skipped": 10,  # steps in a row without a finite loss before the run stops
            "validate": {
                "every": 0,  # steps between looks at held-out examples; 0: none
                "count": 64,  # validation examples looked at
                "score": True,  # answer and judge them too, not only their loss and the KL to the base
                "use_best": "",  # the tuned model is the best by validation_score or validation_loss; empty: the last
                "patience": 0,  # looks without a better one of these before the run ends; 0: never
                "max_kl": 0.0,  # nats per token; a run that is further from the base ends; 0: never
                "samples": 2,  # answers printed at each look
            },
            "trackers": (),  # beside metrics.jsonl: tensorboard, wandb
            "wandb_project": "s3ft_jax",  # name of the project there
            "per_method": ConfigDict(),  # e.g. {"sft": {"learning_rate": 3e-4}}: what differs for one method
        }
    )
