#include "target/replication/node_fsm.hpp"

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

namespace mpath::target::replication {
namespace {

using std::chrono::milliseconds;

// A round that is not answered is tried again: the second node later than the first, so that they do not chase each
// other.
constexpr Duration round_wait = milliseconds(120);
constexpr Duration round_stagger = milliseconds(45);
constexpr Duration fence_pause = std::chrono::seconds(5);

}  // namespace

NodeFsm::NodeFsm(const NodeOptions& options, const VoteRecord& record, bool suspect, std::uint64_t incarnation,
                 TimePoint now)
    : options_(options),
      incarnation_(incarnation),
      voter_(record, options.lease, true, now),
      suspect_(suspect),
      ran_at_(now),
      round_(voter_.record().promised.round),
      next_beat_(now) {
  for (Contact& each : contacts_) each.heard = now;
  old_words_until_ = now + options_.deadtime / 2;
  // Our vote alone decided it.
  if (const auto vote = voter_.record().accepted; vote && vote->stand_in && vote->ballot.proposer == options_.self) {
    voter_.learn(vote->view);
    keep();
  }
  if (alone()) suspect_ = false;  // there is no better copy
  // What was under way when an earlier life ended is on the only copy that counts, if it is alone; filling tells the
  // peer.
  resumed_ = primary() && !alone();
  kept_number_ = view().number;
}

std::vector<Action> NodeFsm::take_actions() {
  return std::exchange(actions_, {});
}

// ---- what holds now ------------------------------------------------------------------------------------------------

bool NodeFsm::majority(MemberSet members, bool stand_in) const {
  if (stand_in) members.add(peer_of(options_.self));
  return 2 * members.size() > voters();
}

// Whether the administrator lets us take the vote of a peer that is gone.
bool NodeFsm::stands_in() const {
  return !options_.witness && fencing_ == Fencing::off;
}

bool NodeFsm::silent(Member member, TimePoint now) const {
  const Contact& peer = contact(member);
  return now >= peer.heard + (peer.met ? options_.deadtime : options_.initdead);
}

// The latest word that still makes a majority with those that end after it.
TimePoint NodeFsm::leased_until(TimePoint now) const {
  // Its word is not missed when a handler has confirmed that it is off; merely unheard, it may have gone on.
  const bool confirmed = options_.on_peer_loss == PeerLoss::fence && stands_in();
  if (majority({options_.self}, confirmed)) return now + options_.lease;
  TimePoint latest = TimePoint::min();
  for (const Member member : {Member::a, Member::b, Member::witness}) {
    // One word beside our own is enough, of two as of three.
    if (member != options_.self) latest = std::max(latest, contact(member).word_until);
  }
  return latest;
}

std::uint64_t NodeFsm::peer_life(TimePoint now) const {
  const Contact& peer = contact(peer_of(options_.self));
  if (!peer.met || silent(peer_of(options_.self), now) || split_) return 0;
  if (!alone() && (suspect_ || resumed_)) return 0;
  if (peer.suspect && view().in_sync.has(peer_of(options_.self))) return 0;
  return peer.incarnation;
}

bool NodeFsm::alone() const {
  const auto ours = [this](const View& view) {
    return view.primary == options_.self && view.in_sync.only(options_.self);
  };
  return ours(record().decided) && (!record().accepted || ours(record().accepted->view));
}

// We have proposed a view and do not know what became of it.
bool NodeFsm::ours_is_open() const {
  return record().accepted && record().accepted->ballot.proposer == options_.self;
}

TimePoint NodeFsm::may_serve_until(TimePoint now) const {
  if (!primary() || handing_over_ || split_) return TimePoint::min();
  if (kept_number_ != view().number) return TimePoint::min();  // after a restart we have to know that we served
  if (alone()) return never;
  // What was under way when an earlier life ended may be on one of both only.
  if (suspect_ || resumed_) return TimePoint::min();
  // Our own vote may have helped another view.
  const auto& accepted = record().accepted;
  if (accepted && accepted->view.primary != options_.self) return TimePoint::min();
  if (record().promised.round > 0 && record().promised.proposer != options_.self) return TimePoint::min();
  return leased_until(now);
}

MemberSet NodeFsm::holders() const {
  MemberSet set = view().in_sync;
  if (record().accepted) set = set.with(record().accepted->view.in_sync);
  if (peer_filled_) set.add(peer_of(options_.self));
  if (attempt_ && attempt_->proposed) set = set.with(attempt_->proposed->view.in_sync);
  return set;
}

std::string NodeFsm::waits_for(TimePoint now) const {
  if (may_serve(now)) return {};
  const Member peer = peer_of(options_.self);
  const std::string other = std::string("node ") + name(peer);
  if (view().number == 0) return "the first contact with " + other;
  if (split_) return "an administrator: the pair was split, and the node whose data does not count is to join anew";
  if (!primary() && held_back_.members.has(options_.self) && silent(peer_of(options_.self), now)) {
    return "an administrator: it is held back from taking over by itself (`cluster maintenance off`, `standby off`)";
  }
  if (!primary()) return other + ", which serves or served last";
  if (handing_over_) return other + " to take over";
  if (resumed_ && !suspect_) return "a majority that agrees to go on after the restart";
  if (suspect_) {
    return other + ": writes that were acknowledged and not synchronised before the crash may be only there";
  }
  return options_.witness ? "the word of " + other + " or of the witness" : "the word of " + other;
}

// ---- events --------------------------------------------------------------------------------------------------------

void NodeFsm::on_message(const Message& message, TimePoint now) {
  notice_pause(now);
  if (message.from != options_.self) {
    Contact& from = contact(message.from);
    if (from.incarnation != message.incarnation) {
      from.restarted = from.met;
      from.incarnation = message.incarnation;
      from.word_until = TimePoint::min();
    }
    from.met = true;
    from.heard = std::max(from.heard, now);
    learn(message.decided, now);
    // What it said under an older view may come late: it may have been filled since.
    if (message.decided == view()) from.suspect = message.suspect;
    if (message.from == peer_of(options_.self)) {
      fencing_ = Fencing::no;
      compare(message.decided);
      if (message.decided == view() && now >= old_words_until_) heard_at_view_ = true;
    }
    if (const auto* const beat = std::get_if<Beat>(&message.body); beat != nullptr && holds_data(message.from)) {
      from.asks_to_serve = beat->asks_to_serve && message.decided == view();
      if (supersedes(beat->held_back, held_back_)) held_back_ = beat->held_back;
    }
  }
  if (message.from == options_.self && std::holds_alternative<Beat>(message.body)) {
    kept_number_ = std::max(kept_number_, message.decided.number);
  }
  if (const auto body = answer(voter_, message.from, message.decided.number, message.body, now)) {
    keep();
    send(message.from, *body, true);
  } else if (const auto* const grant = std::get_if<Grant>(&message.body)) {
    on_grant(message, *grant);
  } else if (const auto* const promise = std::get_if<Promise>(&message.body)) {
    on_promise(message, *promise, now);
  } else if (const auto* const accepted = std::get_if<Accepted>(&message.body)) {
    on_accepted(message, *accepted, now);
  } else if (const auto* const refused = std::get_if<Refused>(&message.body)) {
    on_refused(*refused, now);
  }
  decide_what_to_want(now);
}

void NodeFsm::on_time(TimePoint now) {
  if (now >= next_beat_) beat(now);
  decide_what_to_want(now);
  if (attempt_ && now >= attempt_->again) try_again(now);
}

TimePoint NodeFsm::wake_at() const {
  TimePoint at = next_beat_;
  if (attempt_) at = std::min(at, attempt_->again);
  return at;
}

void NodeFsm::peer_lost(TimePoint now) {
  peer_lost_ = true;
  unfill();
  decide_what_to_want(now);
}

void NodeFsm::peer_filled(std::uint64_t incarnation, TimePoint now) {
  peer_lost_ = false;
  peer_filled_ = incarnation;
  decide_what_to_want(now);
}

void NodeFsm::interrupt(TimePoint now) {
  if (!primary() || alone() || resumed_) return;
  resumed_ = true;
  decide_what_to_want(now);
}

void NodeFsm::distrust(TimePoint now) {
  if (suspect_ || alone()) return;
  suspect_ = true;
  next_beat_ = now;  // the peer hears of it at once
  decide_what_to_want(now);
}

void NodeFsm::hold_back(const HeldBack& word, TimePoint now) {
  if (!supersedes(word, held_back_)) return;
  held_back_ = word;
  next_beat_ = now;
  decide_what_to_want(now);
}

void NodeFsm::ask_to_serve(TimePoint until, TimePoint now) {
  ask_until_ = until;
  next_beat_ = now;
}

bool NodeFsm::peer_asks_to_serve(TimePoint now) const {
  const Member peer = peer_of(options_.self);
  return primary() && contact(peer).asks_to_serve && !silent(peer, now);
}

// Writes need not go to the peer any more, and what was not proposed yet is not.
void NodeFsm::unfill() {
  if (!peer_filled_) return;
  peer_filled_.reset();
  if (attempt_ && !attempt_->proposed && !ours_is_open()) attempt_.reset();
}

bool NodeFsm::hand_over(TimePoint now) {
  const Member peer = peer_of(options_.self);
  if (!may_serve(now) || !view().in_sync.has(peer) || contact(peer).suspect) return false;
  handing_over_ = true;
  decide_what_to_want(now);
  return true;
}

void NodeFsm::on_fenced(bool off, TimePoint now) {
  if (!awaits_fence()) return;  // the peer was heard meanwhile
  fencing_ = off ? Fencing::off : Fencing::no;
  fence_again_ = now + fence_pause;
  decide_what_to_want(now);
}

// ---- what to want --------------------------------------------------------------------------------------------------

// The view that this node would like to be the next, if any.
void NodeFsm::decide_what_to_want(TimePoint now) {
  notice_pause(now);
  const View& at = view();
  const Member self = options_.self;
  const Member peer = peer_of(self);
  const bool peer_gone = silent(peer, now);
  if (peer_filled_ && (peer_gone || *peer_filled_ != contact(peer).incarnation)) unfill();
  if (at.number == 0 || attempt_ || split_) return;
  const View alone_here{.number = at.number + 1, .primary = self, .in_sync = {self}};

  // What we voted for ourselves and do not know the end of has to come to one.
  // Unless we have lost writes since then which the peer may hold: then it is for the peer to go on.
  const bool both_suspect = suspect_ && contact(peer).met && contact(peer).suspect && !peer_gone;
  const bool behind = suspect_ && !both_suspect && !at.in_sync.only(self);
  if (ours_is_open() && !behind) return want(record().accepted->view, now);

  // An administrator wants to be asked before this node takes over.
  const bool held = at.primary == peer && held_back_.members.has(self);
  if (!held && peer_gone && !options_.witness && fencing_ == Fencing::no && heard_at_view_ && at.in_sync.has(self) &&
      at.in_sync.has(peer) && !suspect_) {
    if (options_.on_peer_loss == PeerLoss::proceed) fencing_ = Fencing::off;
    if (options_.on_peer_loss == PeerLoss::fence && now >= fence_again_) {
      fencing_ = Fencing::asked;
      actions_.emplace_back(Fence{});
    }
  }

  if (at.primary == self) {
    if (handing_over_) return want({.number = at.number + 1, .primary = peer, .in_sync = at.in_sync}, now);
    if (behind) return;
    if (at.in_sync.has(peer)) {
      if (peer_gone || peer_lost_ || resumed_ || contact(peer).suspect) return want(alone_here, now);
      const Ballot& promised = record().promised;
      if (outbid_ || (promised.round > 0 && promised.proposer != self)) {
        want({.number = at.number + 1, .primary = self, .in_sync = at.in_sync}, now);
      }
      return;
    }
    // In the life in which it was filled.
    if (peer_filled_ == contact(peer).incarnation && !peer_gone && !contact(peer).suspect) {
      want({.number = at.number + 1, .primary = self, .in_sync = {self, peer}}, now);
    }
    return;
  }
  // A follower that holds everything takes over from a primary that is gone, or that has been away.
  if (!at.in_sync.has(self) || suspect_ || held) return;
  if (peer_gone || contact(peer).suspect || contact(peer).restarted) want(alone_here, now);
}

// Who was stopped for a while has not listened: silence counts from now on, and what a fence handler has said is too
// old. What is found first was said before. Without a handler this node may have been voted out meanwhile, as one that
// was away: before it goes on alone it has to hear its peer at the present view.
void NodeFsm::notice_pause(TimePoint now) {
  const Duration unusual = options_.deadtime / 2;
  if (!options_.witness && now >= ran_at_ + unusual) {
    for (Contact& each : contacts_) each.heard = std::max(each.heard, now);
    fencing_ = Fencing::no;
    if (options_.on_peer_loss == PeerLoss::proceed) heard_at_view_ = false;
    old_words_until_ = now + unusual;
  }
  ran_at_ = std::max(ran_at_, now);
}

// Views of one number that differ: both of us went on without the other.
void NodeFsm::compare(const View& of_peer) {
  if (of_peer.number == 0 || of_peer == view()) {
    split_ = false;  // it joins, or has what we have
  } else if (of_peer.number == view().number) {
    split_ = true;
  }
}

void NodeFsm::want(const View& next, TimePoint now) {
  attempt_.emplace();
  attempt_->wanted = next;
  start_round(now);
}

// Another round with a higher ballot; without a proposal that has to come to an end, only while the reason stands.
void NodeFsm::try_again(TimePoint now) {
  const bool bound = attempt_->proposed || ours_is_open();
  if (bound) {
    start_round(now);
    return;
  }
  attempt_.reset();
  if (handing_over_ && silent(peer_of(options_.self), now)) handing_over_ = false;
  decide_what_to_want(now);
}

void NodeFsm::start_round(TimePoint now) {
  round_ = std::max(round_, record().promised.round) + 1;
  ++tries_;
  const Duration wait = round_wait + (options_.self == Member::b ? round_stagger : Duration{});
  const auto proposed = attempt_->proposed;
  attempt_ = Attempt{.wanted = proposed ? proposed->view : attempt_->wanted,
                     .ballot = {.round = round_, .proposer = options_.self},
                     .promised = {},
                     .accepted_by = {},
                     .proposed = proposed,
                     .accepted = {},
                     .again = now + wait * std::min(tries_, 4U)};
  send_all(Prepare{.ballot = attempt_->ballot}, false);
}

bool NodeFsm::give_up(TimePoint now) {
  if (!split_) return false;
  voter_.forget();
  suspect_ = true;
  resumed_ = split_ = false;
  begin_view(now);
  return true;
}

void NodeFsm::learn(const View& decided, TimePoint now) {
  if (!voter_.learn(decided)) return;
  begin_view(now);
  // What was under way in an earlier life is told to the peer only by filling it.
  resumed_ = resumed_ && primary() && !decided.in_sync.only(options_.self);
  // Our own message comes back when the record is durable.
  if (primary()) send(options_.self, Beat{}, true);
  if (decided.in_sync.only(options_.self)) suspect_ = false;  // there is no better copy
}

// What was under way was about the view before.
void NodeFsm::begin_view(TimePoint now) {
  keep();
  attempt_.reset();
  tries_ = 0;
  outbid_ = false;
  handing_over_ = false;
  peer_lost_ = false;
  peer_filled_.reset();
  heard_at_view_ = false;
  fencing_ = Fencing::no;
  // A word was given for the view before.
  for (Contact& each : contacts_) {
    each.word_until = TimePoint::min();
    each.restarted = each.asks_to_serve = false;
  }
  ask_until_ = TimePoint::min();
  asked_ = {};
  next_beat_ = now;
}

// ---- messages ------------------------------------------------------------------------------------------------------

void NodeFsm::on_grant(const Message& from, const Grant& grant) {
  if (from.decided != view()) return;
  for (const Asked& asked : asked_) {
    if (asked.id != grant.lease_id || asked.id == 0) continue;
    // The voter may have been configured with another time than we were.
    const Duration kept = std::min<Duration>(options_.lease, grant.lease);
    const auto counted = std::chrono::duration_cast<Duration>(kept * (1.0 - options_.drift));
    Contact& voter = contact(from.from);
    voter.word_until = std::max(voter.word_until, asked.at + counted);
  }
}

void NodeFsm::on_promise(const Message& from, const Promise& promise, TimePoint now) {
  if (!attempt_ || promise.ballot != attempt_->ballot || from.decided.number != view().number) return;
  Attempt& attempt = *attempt_;
  attempt.promised.add(from.from);
  attempt.accepted_by[static_cast<std::size_t>(from.from)] = promise.accepted;
  // Our own promise has to be among them: it brings what we voted for.
  const bool again = attempt.proposed && attempt.proposed->ballot == attempt.ballot;
  if (again || !attempt.promised.has(options_.self) || !majority(attempt.promised, stands_in())) return;
  if (const auto view = view_to_propose()) propose(*view, now);
}

// The view that an earlier ballot may have got decided, else the one that we want. None while it is not worth
// proposing.
std::optional<View> NodeFsm::view_to_propose() const {
  const Attempt& attempt = *attempt_;
  std::optional<Vote> best;
  for (const auto& vote : attempt.accepted_by) {
    if (vote && (!best || best->ballot < vote->ballot)) best = vote;
  }
  if (!best) return attempt.wanted;
  // Those that did not answer may have voted for it as well.
  MemberSet may_have;
  bool stand_in = false;
  for (const Member member : {Member::a, Member::b, Member::witness}) {
    if (!holds_data(member) && !options_.witness) continue;
    const auto& vote = attempt.accepted_by[static_cast<std::size_t>(member)];
    if (!attempt.promised.has(member) || (vote && vote->view == best->view)) may_have.add(member);
    stand_in = stand_in || (vote && vote->view == best->view && vote->stand_in);
  }
  if (!stand_in && 2 * may_have.size() <= voters()) return attempt.wanted;
  // A node that has lost writes which we hold should not become the only one; whoever is missing may show that it need
  // not.
  const Member lone = best->view.primary;
  if (lone != options_.self && best->view.in_sync.only(lone) && contact(lone).suspect && !suspect_ &&
      view().in_sync.has(options_.self) && attempt.promised.size() < voters()) {
    return std::nullopt;
  }
  return best->view;
}

void NodeFsm::propose(const View& view, TimePoint now) {
  Attempt& attempt = *attempt_;
  attempt.proposed = Vote{.ballot = attempt.ballot, .view = view, .stand_in = stands_in()};
  // Our own vote is durable before anybody else hears of the proposal.
  if (voter_.accept(*attempt.proposed, now) != Voter::Answer::yes) {
    attempt_.reset();
    return;
  }
  keep();
  send(options_.self, Accepted{.ballot = attempt.ballot}, true);
  for (const Member member : {Member::a, Member::b, Member::witness}) {
    if (member != options_.self && (holds_data(member) || options_.witness)) {
      send(member, Propose{.vote = *attempt.proposed}, true);
    }
  }
}

void NodeFsm::on_accepted(const Message& from, const Accepted& accepted, TimePoint now) {
  // Our own vote that decides alone does so however late we hear that it is durable: after a pause we have begun another
  // round, for which we may not stand in any more, and must not go on as if nothing had been decided.
  const auto own = record().accepted;
  if (own && own->stand_in && own->ballot == accepted.ballot && from.from == options_.self) {
    learn(own->view, now);
    return beat(now);
  }
  if (!attempt_ || accepted.ballot != attempt_->ballot || !attempt_->proposed) return;
  attempt_->accepted.add(from.from);
  if (!majority(attempt_->accepted, attempt_->proposed->stand_in)) return;
  const View decided = attempt_->proposed->view;
  learn(decided, now);
  beat(now);  // everybody hears of it at once
}

void NodeFsm::on_refused(const Refused& refused, TimePoint now) {
  round_ = std::max(round_, refused.promised.round);
  if (refused.ballot.round == 0) {
    outbid_ = outbid_ || (refused.promised.round > 0 && refused.promised.proposer != options_.self);
    return;
  }
  if (attempt_ && refused.ballot == attempt_->ballot && refused.wait.count() > 0) attempt_->again = now + refused.wait;
}

// ---- output --------------------------------------------------------------------------------------------------------

void NodeFsm::beat(TimePoint now) {
  next_beat_ = now + options_.keepalive;
  std::uint64_t id = 0;
  // Our own word comes first: while we may believe in a lease, we do not help anybody else.
  const bool wants = primary() && !handing_over_ && !suspect_ && !resumed_;
  if (wants && voter_.grant(options_.self, view().number, now) == Voter::Answer::yes) {
    id = ++lease_id_;
    asked_[id % asked_.size()] = {.id = id, .at = now};
  }
  for (const Member member : {Member::a, Member::b, Member::witness}) {
    if (member == options_.self || (!holds_data(member) && !options_.witness)) continue;
    send(member, Beat{.lease_id = id, .held_back = held_back_, .asks_to_serve = now < ask_until_});
  }
}

void NodeFsm::send(Member to, const Body& body, bool after_persist) {
  actions_.emplace_back(Send{
      .to = to,
      .message =
          {.from = options_.self, .incarnation = incarnation_, .suspect = suspect_, .decided = view(), .body = body},
      .after_persist = after_persist});
}

void NodeFsm::send_all(const Body& body, bool after_persist) {
  for (const Member member : {Member::a, Member::b, Member::witness}) {
    if (holds_data(member) || options_.witness) send(member, body, after_persist);
  }
}

// The record is made durable if it has changed.
void NodeFsm::keep() {
  if (voter_.take_changed()) actions_.emplace_back(Persist{record()});
}

}  // namespace mpath::target::replication
