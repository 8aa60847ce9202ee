/* SPDX-License-Identifier: Apache-2.0 */
/*
 * levels.pml - blocks get copies at three levels and lose them, in any order.
 *
 * Four blocks: 0 is a root, 1 and 3 are its children, 2 is a child of 1. Level 0 is
 * the nearest. A block's level is the nearest one at which it has a copy. Everything
 * is a turn of the daemon, so nothing is concurrent but a move: it is begun in one turn
 * and ends in a later one, and meanwhile anything may happen to its block and to the
 * block's relatives.
 *
 *   store   a new block, at a level that is not nearer than its parent's
 *   begin   a move, which adds a copy at a nearer level or at a farther one
 *   commit  its end: the block is still the same, and the copy not nearer than the
 *           parent's level now
 *   replace a block that is farther is stored anew at the nearest level: all its older
 *           copies go, whoever has children there
 *   drop    a copy goes if copy_may_go() (daemon/core/level.c): no child has a copy at
 *           that level, and no child is nearer than the block is then. A block leaves
 *           with its last copy. The copy that a move reads stays until its end.
 *   reclaim the place of a copy at the farthest level is needed, in the order of places: the
 *           copy goes if there is a nearer one, whoever has children there. Otherwise it is
 *           written anew elsewhere, or the block's descendants are dropped first
 *
 * Promised: a block's parent is there, and not farther than the block.
 *
 * Mutants: ABOVE_CHILD (a copy goes although a child has one at its level)
 *          PAST_CHILD (children at farther levels are not looked at: a block that
 *          leaves in the order of leaves at one level orphans those at others)
 *          STORE_NEARER (the parent's level is not asked)
 *          NO_SECOND_LOOK (a commit does not ask for it again)
 *          OLD_BLOCK (a move's block was stored anew meanwhile)
 *          SOURCE_GOES (the copy that a move reads goes)
 *          RECLAIM_PARENT (the last copy goes before the children do, as when only the
 *          blocks of one segment are put in the order of leaves)
 * BEGIN_NEARER holds: what a commit asks need not be asked when a move begins.
 */

#define BLOCKS 4
#define LEVELS 3

#define AT(b, l)  at[(b) * LEVELS + (l)]
#define LEVEL(b)  (AT(b, 0) -> 0 : (AT(b, 1) -> 1 : (AT(b, 2) -> 2 : LEVELS)))
#define THERE(b)  (LEVEL(b) < LEVELS)
#define PARENT(b) ((b) == 2 -> 1 : 0)	/* of any but block 0 */
#define CHILD_AT(b, l) \
	((b) == 0 && (AT(1, l) || AT(3, l)) || (b) == 1 && AT(2, l))
#ifdef RECLAIM_PARENT
#define RECLAIMED(b) true
#else
#define RECLAIMED(b) (LEVEL(b) < LEVELS - 1)
#endif
#define NOT_NEARER(b, l) ((b) == 0 || LEVEL(PARENT(b)) <= (l))

bool at[BLOCKS * LEVELS];
bool moving, move_is_true = true, chains_are_whole = true, no_far_child = true;
byte m_block, m_from, m_to;
bool m_old;			/* its block's generation is another one now */
byte b, l, k;			/* scratch */
bool ok;

inline choose_block()
{
	if
	:: b = 0
	:: b = 1
	:: b = 2
	:: b = 3
	fi
}

inline choose_level()
{
	if
	:: l = 0
	:: l = 1
	:: l = 2
	fi
}

inline may_go()
{
	ok = AT(b, l);
#ifndef ABOVE_CHILD
	ok = ok && !CHILD_AT(b, l);
#endif
#ifndef SOURCE_GOES
	ok = ok && !(moving && m_block == b && m_from == l && !m_old);
#endif
	k = (LEVEL(b) < l -> LEVELS : l + 1);
	do
	:: k < LEVELS && !AT(b, k) ->
#ifndef PAST_CHILD
		ok = ok && !CHILD_AT(b, k);
#endif
		k++
	:: else -> break
	od;
	k = 0
}

inline see()
{
	chains_are_whole =
		(!THERE(1) || LEVEL(0) <= LEVEL(1)) &&
		(!THERE(2) || LEVEL(1) <= LEVEL(2)) &&
		(!THERE(3) || LEVEL(0) <= LEVEL(3));
	assert(chains_are_whole);
#ifdef REACH_FAR_CHILD
	no_far_child = !(AT(0, 0) && AT(1, 0) && AT(1, 2) && !AT(2, 1) && AT(2, 2) &&
			 AT(3, 1));
	assert(no_far_child);
#endif
	b = 0;
	l = 0;
	ok = false
}

active proctype daemon()
{
	do
	:: atomic {			/* store */
		choose_block();
		choose_level();
		ok = !THERE(b) && (b == 0 || THERE(PARENT(b)));
#ifndef STORE_NEARER
		ok = ok && NOT_NEARER(b, l);
#endif
		if
		:: ok -> AT(b, l) = true
		:: else
		fi;
		see()
	}
	:: atomic {			/* begin a move */
		!moving;
		choose_block();
		choose_level();
		ok = THERE(b) && !AT(b, l);
#ifndef BEGIN_NEARER
		ok = ok && NOT_NEARER(b, l);
#endif
		if
		:: ok ->
			moving = true;
			m_block = b;
			m_from = LEVEL(b);
			m_to = l
		:: else
		fi;
		see()
	}
	:: atomic {			/* commit it; or it failed */
		moving;
		b = m_block;
		l = m_to;
		ok = !AT(b, l);
#ifndef OLD_BLOCK
		ok = ok && !m_old;
#endif
#ifndef NO_SECOND_LOOK
		ok = ok && NOT_NEARER(b, l);
#endif
		if
		:: ok ->
			move_is_true = !m_old && AT(b, m_from);
			assert(move_is_true);
			AT(b, l) = true
		:: true
		fi;
		moving = false;
		m_block = 0; m_from = 0; m_to = 0; m_old = false;
		see()
	}
	:: atomic {			/* replace: a client stores it anew */
		choose_block();
		ok = THERE(b) && !AT(b, 0) && NOT_NEARER(b, 0);
		if
		:: ok ->
			AT(b, 0) = true;
			AT(b, 1) = false;
			AT(b, 2) = false;
			m_old = m_old || moving && m_block == b
		:: else
		fi;
		see()
	}
	:: atomic {			/* drop a copy */
		choose_block();
		choose_level();
		may_go();
		if
		:: ok ->
			AT(b, l) = false;
			m_old = m_old || moving && m_block == b && !THERE(b)
		:: else
		fi;
		see()
	}
	:: atomic {			/* reclaim */
		choose_block();
		ok = AT(b, LEVELS - 1) && RECLAIMED(b) &&
			!(moving && m_block == b && m_from == LEVELS - 1 && !m_old);
		if
		:: ok ->
			AT(b, LEVELS - 1) = false;
			m_old = m_old || moving && m_block == b && !THERE(b)
		:: else
		fi;
		see()
	}
	od
}
