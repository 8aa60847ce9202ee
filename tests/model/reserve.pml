/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserve.pml - reservations, eviction, moves and the death of clients, as
 * turns of the daemon. The daemon is one thread, so each turn is atomic and no
 * store buffers are needed; the order of turns is any order, without bound.
 *
 * A chain of three keys (block b's parent is b - 1), two clients, two levels
 * (NEAR, FAR), N_PAGES pages. A block is absent, reserved by a client or
 * published, at a level. Turns: RESERVE, PUBLISH, ABORT, the death of a client,
 * eviction of a leaf, demotion (leaves first), and promotion in two turns:
 * copy, and a commit that looks again. The daemon may die: the next one begins
 * empty. Client 0 keeps the name of one page it was lent, for as long as it likes, and
 * publishes by it, also when that lending is over or its daemon is dead.
 *
 * Promised after each turn: the parent of a published block is published and at
 * least as near; the parent of a reservation is published or reserved, and at
 * least as near; a page is in one hand and never taken from a client that still
 * writes it; none is lost; the dead hold nothing; a move never puts one block's
 * copy into another; what is published by a name is what the name was lent for.
 *
 * RESERVATION_NO_CHILD   a parent with only reserved children may be evicted
 * CHILD_BEFORE_PARENT    PUBLISH does not look at the parent
 * ABORT_ONE              ABORT leaves the reservations below in place
 * FOREIGN_PARENT         RESERVE below another client's reservation
 * PARENT_UNCHECKED       RESERVE does not look at the parent
 * NEARER_THAN_PARENT     RESERVE at a nearer level than the parent's
 * SAME_KEY_TWICE         RESERVE of a key that another client is writing
 * DEATH_KEEPS            a dead client's reservations stay
 * ABORT_PUBLISHED        ABORT of what was published already is obeyed
 * COMMIT_BLINDLY         a promotion does not look at the parent again
 * COMMIT_ANY_BLOCK       a promotion does not see that its block was replaced
 * DEMOTE_ROOT_FIRST      demotion does not look at the children
 * ANY_LENDING            a name is its page, whenever that was lent
 * ANY_DAEMON             a name is page and lending, whoever lent it
 */

#define N_BLOCKS 3
#define N_PAGES 4
#define NONE 9

#define ABSENT 0
#define RESERVED 1
#define PUBLISHED 2

#define FAR 1
#define NEAR 2

byte state[N_BLOCKS], owner[N_BLOCKS], level[N_BLOCKS], page[N_BLOCKS];
bool page_used[N_PAGES];
bool dead[2];
byte moving = NONE, move_page;	/* a promotion between its two turns */
bool move_is_stale;		/* its block's generation has changed since */
byte name = NONE;		/* the page that client 0 was lent and remembers */
bool lent_anew;			/* it has another number of lending now */
bool daemon_is_another;		/* than the one that lent it; numbers begin again */
byte i, n, l;			/* scratch, 0 between turns */

bool chain_is_whole = true, levels_fall = true, pages_are_counted = true;
bool writer_was_told = true, dead_hold_nothing = true, copy_is_right = true, never_all = true;
bool name_is_right = true;

inline take_page(ret)
{
	i = 0;
	do
	:: page_used[i] -> i++
	:: else -> page_used[i] = true; ret = i; break
	od;
	i = 0
}

/* In a turn of client c: only c is told that a page it writes is gone. */
inline free_block(b)
{
	writer_was_told = state[b] == PUBLISHED || owner[b] == c;
	assert(writer_was_told);
	page_used[page[b]] = false;
	if
	:: moving == b -> move_is_stale = true
	:: else
	fi;
	state[b] = ABSENT; owner[b] = 0; level[b] = 0; page[b] = 0
}

/* Children of b that hold a page at its level, reservations too. */
#ifdef RESERVATION_NO_CHILD
#define HAS_CHILD(b) (b + 1 < N_BLOCKS && state[b + 1] == PUBLISHED)
#else
#define HAS_CHILD(b) (b + 1 < N_BLOCKS && state[b + 1] != ABSENT)
#endif
#define HAS_CHILD_AT(b) (HAS_CHILD(b) && level[b + 1] >= level[b])
#define HAS_PAGE (!(page_used[0] && page_used[1] && page_used[2] && page_used[3]))

#ifdef PARENT_UNCHECKED
#define NO_PARENT(b) (state[b - 1] == ABSENT)
#else
#define NO_PARENT(b) false
#endif
#define PARENT_OK(b, c)							\
	(b == 0 || state[b - 1] == PUBLISHED || PARENT_MINE(b, c) || NO_PARENT(b))
#define LEVEL_OK(b) (b == 0 || l <= level[b - 1] || NO_PARENT(b))
#ifdef FOREIGN_PARENT
#define PARENT_MINE(b, c) (state[b - 1] == RESERVED)
#else
#define PARENT_MINE(b, c) (state[b - 1] == RESERVED && owner[b - 1] == c)
#endif

/* ABORT of reservation b by client c; what c reserved below it goes first. */
inline abort_from(b)
{
#ifdef ABORT_ONE
	free_block(b)
#else
	n = N_BLOCKS;
	do
	:: n > b ->
		n--;
		if
		:: state[n] == RESERVED -> free_block(n)
		:: else
		fi
	:: else -> break
	od;
	n = 0
#endif
}

inline check()
{
	n = 0; i = 0;
	do
	:: i < N_BLOCKS ->
		if
		:: state[i] != ABSENT && i > 0 ->
			chain_is_whole = chain_is_whole &&
				(state[i - 1] == PUBLISHED ||
				 (state[i] == RESERVED && state[i - 1] == RESERVED));
			levels_fall = levels_fall && level[i] <= level[i - 1]
		:: else
		fi;
		if
		:: state[i] != ABSENT ->
			n++;
			pages_are_counted = pages_are_counted && page_used[page[i]] &&
				!(i > 0 && state[0] != ABSENT && page[i] == page[0]) &&
				!(i > 1 && state[1] != ABSENT && page[i] == page[1]);
			dead_hold_nothing = dead_hold_nothing &&
				!(state[i] == RESERVED && dead[owner[i]])
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0;
	n = n + (moving != NONE -> 1 : 0);
	pages_are_counted = pages_are_counted && n ==
		page_used[0] + page_used[1] + page_used[2] + page_used[3];
	n = 0;
	assert(dead_hold_nothing);
	assert(pages_are_counted);
	assert(chain_is_whole);
	assert(levels_fall);
#ifdef REACH_ALL
	never_all = !(state[2] == RESERVED && state[1] == RESERVED && level[0] == NEAR &&
		      state[0] == PUBLISHED && dead[0]);
	assert(never_all);
#endif
}

inline reserve(b, c)
{
	if
	:: true -> l = FAR
	:: true -> l = NEAR
	fi;
	if
#ifndef SAME_KEY_TWICE
	:: state[b] == ABSENT && HAS_PAGE &&
#else
	:: state[b] != PUBLISHED && HAS_PAGE &&
#endif
	   PARENT_OK(b, c) &&
#ifndef NEARER_THAN_PARENT
	   LEVEL_OK(b) &&
#endif
	   !dead[c] ->
		state[b] = RESERVED; owner[b] = c; level[b] = l;
		take_page(page[b]);
		remember(b, c)
	:: else
	fi;
	l = 0
}

/* A lending has begun: of the page whose name is kept, or its name is kept from now. */
inline remember(b, c)
{
	if
	:: name == page[b] && !daemon_is_another -> lent_anew = true
	/* Another daemon counts anew, and may be at the same number. */
	:: name == page[b] && daemon_is_another -> lent_anew = false
	:: name == page[b] && daemon_is_another -> lent_anew = true
	:: else
	fi;
	if
	:: c == 0 -> name = page[b]; lent_anew = false; daemon_is_another = false
	:: true
	fi
}

inline publish_by_name(b)
{
	if
	:: state[b] == RESERVED && owner[b] == 0 && !dead[0] && page[b] == name &&
	   (b == 0 || state[b - 1] == PUBLISHED) &&
#ifndef ANY_LENDING
	   !lent_anew &&
#endif
#ifndef ANY_DAEMON
	   !daemon_is_another &&
#endif
	   true ->
		name_is_right = !lent_anew && !daemon_is_another;
		assert(name_is_right);
		state[b] = PUBLISHED; owner[b] = 0
	:: else
	fi
}

/* Its successor finds nothing; clients stay, with what they remember. */
inline daemon_dies()
{
	i = 0;
	do
	:: i < N_BLOCKS -> state[i] = ABSENT; owner[i] = 0; level[i] = 0; page[i] = 0; i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < N_PAGES -> page_used[i] = false; i++
	:: else -> break
	od;
	i = 0;
	moving = NONE; move_page = 0; move_is_stale = false;
	daemon_is_another = name != NONE
}

inline publish(b, c)
{
	if
	:: state[b] == RESERVED && owner[b] == c && !dead[c] &&
#ifndef CHILD_BEFORE_PARENT
	   (b == 0 || state[b - 1] == PUBLISHED) &&
#endif
	   true ->
		state[b] = PUBLISHED; owner[b] = 0
	:: else
	fi
}

inline client_dies(c)
{
	dead[c] = true;
#ifndef DEATH_KEEPS
	l = 0;
	do
	:: l < N_BLOCKS && state[l] == RESERVED && owner[l] == c -> abort_from(l)
	:: l < N_BLOCKS && !(state[l] == RESERVED && owner[l] == c) -> l++
	:: else -> break
	od;
	l = 0
#endif
}

proctype daemon()
{
	byte b, c;
end:
	do
	:: atomic {
		select(b : 0 .. N_BLOCKS - 1);
		select(c : 0 .. 1);
		if
		:: reserve(b, c)
		:: publish(b, c)
		:: true -> publish_by_name(b)
		:: daemon_dies()
		:: state[b] == RESERVED && owner[b] == c && !dead[c] -> abort_from(b)
#ifdef ABORT_PUBLISHED
		:: state[b] == PUBLISHED && !dead[c] -> free_block(b)
#endif
		:: !dead[c] -> client_dies(c)
		:: dead[c] -> dead[c] = false		/* another one attaches */
		:: state[b] == PUBLISHED && !HAS_CHILD(b) -> free_block(b)
#ifdef DEMOTE_ROOT_FIRST
		:: state[b] == PUBLISHED && level[b] == NEAR ->
#else
		:: state[b] == PUBLISHED && level[b] == NEAR && !HAS_CHILD_AT(b) ->
#endif
			level[b] = FAR;
			if
			:: moving == b -> move_is_stale = true
			:: else
			fi
		/* promotion, first turn: a page for the copy */
		:: state[b] == PUBLISHED && level[b] == FAR && moving == NONE &&
		   HAS_PAGE && (b == 0 || level[b - 1] == NEAR) ->
			moving = b;
			move_is_stale = false;
			take_page(move_page)
		/* second turn: commit, or give the copy up */
		:: moving != NONE ->
			if
			:: state[moving] == PUBLISHED && level[moving] == FAR &&
#ifndef COMMIT_ANY_BLOCK
			   !move_is_stale &&
#endif
#ifndef COMMIT_BLINDLY
			   (moving == 0 || level[moving - 1] == NEAR) &&
#endif
			   true ->
				copy_is_right = !move_is_stale;
				assert(copy_is_right);
				page_used[page[moving]] = false;
				page[moving] = move_page;
				level[moving] = NEAR
			:: else ->
				page_used[move_page] = false
			fi;
			moving = NONE; move_page = 0; move_is_stale = false
		fi;
		b = 0; c = 0;
		check()
	}
	od
}

init { run daemon() }
