from s3ft_jax.tasks.pocket import words


def test_the_made_up_world_is_of_one_piece():
    assert len(words.COUNTRIES) == 24 and len(words.TOPICS) == 100
    names = [country.name for country in words.COUNTRIES]
    unique = names + [dict(country.facts)[relation] for country in words.COUNTRIES for relation in ("capital", "river")]
    assert len(set(unique)) == len(unique) == 72
    assert len({topic.question for topic in words.TOPICS}) == 100
    assert all(topic.truth != topic.myth for topic in words.TOPICS)


def test_values_of_different_relations_are_never_mistaken_for_each_other():
    groups = (words.NAMES, words.CITIES, words.JOBS, words.FOODS, words.PETS, words.SPORTS)
    everything = [word for group in groups for word in group]
    assert len(set(everything)) == len(everything)
    # The judge looks for whole words: no value may be a word inside another.
    assert all(" " not in word for word in everything)
