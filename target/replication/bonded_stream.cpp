#include "target/replication/bonded_stream.hpp"

#include <bit>
#include <boost/asio/post.hpp>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "base/intrusive.hpp"
#include "target/replication/body_copy.hpp"

namespace mpath::target::replication {

class BondedStream::Core : public std::enable_shared_from_this<BondedStream::Core> {
 public:
  Core(Shard& shard, const BondOptions& options) : shard_(shard), bond_(options), order_(options.window_max) {}
  ~Core() { close(); }

  bool add_link(std::size_t link, std::unique_ptr<TcpStream> tcp);
  void start(Receiver& receiver);
  void send(const StreamHead& head, std::span<const iovec> body);
  void close();
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] std::uint16_t version() const { return version_; }
  [[nodiscard]] BondCounters counters() const;

  std::function<void(std::size_t, const std::string&)> on_link;

 private:
  // One connection.
  struct Link final : Receiver {
    Link(Core& of, std::size_t at, std::unique_ptr<TcpStream> by) : core(of), index(at), tcp(std::move(by)) {}
    void on_message(const StreamHead& head, Buffer body) override { core.came(*this, head, std::move(body)); }
    void on_closed(const std::string& why) override { core.lost(*this, why); }

    Core& core;
    std::size_t index;
    std::unique_ptr<TcpStream> tcp;
    bool over = false;  // nothing that comes from it counts any more
  };
  struct Out : BondMessage {
    StreamHead head;
    std::span<const iovec> body;
    BodyCopy copy;
    bool sent = false;
    Out* next = nullptr;
  };
  struct Early {
    StreamHead head;
    Buffer body;
  };

  void came(Link& link, const StreamHead& head, Buffer body);
  [[nodiscard]] bool take_seen(std::uint64_t number);
  void deliver(const StreamHead& head, Buffer body);
  [[nodiscard]] bool is_unseen(std::uint64_t sequence) const;
  void lost(Link& link, const std::string& why);
  void drop(Link& link);
  void transmit(Out& out);
  void tell_link(std::size_t link, bool ask, std::uint64_t question);
  void release(Out& out);
  [[nodiscard]] bool wants_looks() const { return bond_.busy() || told_seen_ < order_.passed(); }
  void look();
  void stir();
  void watch();
  void end(const std::string& why);
  void end_soon(std::string why);

  Shard& shard_;
  Receiver* receiver_ = nullptr;
  std::uint16_t version_ = 0;
  bool started_ = false;
  bool ended_ = false;
  std::array<std::unique_ptr<Link>, stream_links_max> links_;
  std::vector<std::unique_ptr<Link>> old_links_;  // one of them may have called
  std::array<StreamCounters, stream_links_max> old_counters_;

  Bond bond_;
  Slab<Out, &Out::next> slab_;
  InOrder<Early> order_;
  std::uint64_t told_seen_ = 0;
  std::uint64_t questions_ = 0;
  std::size_t came_over_ = Bond::no_link;  // the last message

  std::unique_ptr<Alarm> alarm_;
  bool watching_ = false;  // the alarm is set to the short interval
  BondCounters counters_;
};

// ---- links ---------------------------------------------------------------------------------------------------------

bool BondedStream::Core::add_link(std::size_t link, std::unique_ptr<TcpStream> tcp) {
  CHECK(link < links_.size());
  if (ended_) return false;
  if (links_[link] != nullptr) {
    drop(*links_[link]);
    if (on_link) on_link(link, "another connection took its place");
  }
  if (version_ == 0) version_ = tcp->version();
  links_[link] = std::make_unique<Link>(*this, link, std::move(tcp));
  bond_.up(link);
  if (on_link) on_link(link, "");
  if (!started_) return true;
  links_[link]->tcp->start(*links_[link]);
  bond_.send_again([this](BondMessage& message) { transmit(static_cast<Out&>(message)); });
  watch();
  return true;
}

// Closed from this side; what it carried waits for another.
void BondedStream::Core::drop(Link& link) {
  link.over = true;
  old_counters_[link.index] = link.tcp->counters();
  link.tcp->close();
  bond_.down(link.index);
  ++counters_.links_lost;
  old_links_.push_back(std::move(links_[link.index]));
}

void BondedStream::Core::lost(Link& link, const std::string& why) {
  if (ended_ || link.over) return;
  const auto alive = shared_from_this();
  const std::size_t index = link.index;
  drop(link);
  if (on_link) on_link(index, why);
  if (bond_.links() == 0) return end("the last link: " + why);
  bond_.send_again([this](BondMessage& message) { transmit(static_cast<Out&>(message)); });
}

// ---- output --------------------------------------------------------------------------------------------------------

void BondedStream::Core::start(Receiver& receiver) {
  CHECK(!started_);
  started_ = true;
  if (ended_) return;
  receiver_ = &receiver;
  alarm_ = shard_.clock().make_alarm([this] { look(); });
  for (const auto& link : links_) {
    if (link != nullptr) link->tcp->start(*link);
  }
  if (bond_.links() == 0) end_soon("no link");
  watch();
}

void BondedStream::Core::send(const StreamHead& head, std::span<const iovec> body) {
  if (ended_) return;
  CHECK(started_);
  if (bond_.full()) return end_soon("the peer has not seen what was sent long ago");
  Out& out = slab_.get();
  out.head = head;
  out.body = body;
  out.bytes = stream_head_bytes_max + head.body_bytes;
  if (head.body_bytes > 0 && !asks_for_answer(head)) {
    out.body = out.copy.make(shard_.buffers(), body, head.body_bytes);
  }
  bond_.send(out, came_over_);
  if (out.link != Bond::no_link) transmit(out);
  stir();
}

void BondedStream::Core::transmit(Out& out) {
  StreamHead head = out.head;
  head.number = out.number;
  head.seen = told_seen_ = order_.passed();
  if (out.sent) ++counters_.sent_again;
  out.sent = true;
  links_[out.link]->tcp->send(head, out.body);
}

void BondedStream::Core::tell_link(std::size_t link, bool ask, std::uint64_t question) {
  told_seen_ = order_.passed();
  links_[link]->tcp->send({.op = StreamOp::link, .last = ask, .sequence = question, .seen = told_seen_}, {});
}

void BondedStream::Core::release(Out& out) {
  out.copy.reset();
  out.body = {};
  out.sent = false;
  slab_.put(out);
}

// ---- input ---------------------------------------------------------------------------------------------------------

void BondedStream::Core::came(Link& link, const StreamHead& head, Buffer body) {
  if (ended_ || link.over) return;
  const auto alive = shared_from_this();
  bond_.heard(link.index, head.op == StreamOp::link && !head.last && head.sequence != 0);
  if (!take_seen(head.seen)) return end("the peer has seen what was not sent");
  if (head.op == StreamOp::link) {
    if (head.last) tell_link(link.index, false, head.sequence);
    return;
  }
  came_over_ = link.index;
  switch (order_.judge(head.number)) {
    case InOrder<Early>::Fate::next:
      deliver(head, std::move(body));
      break;
    case InOrder<Early>::Fate::early:
      ++counters_.came_early;
      order_.keep(head.number, {head, std::move(body)});
      return;
    case InOrder<Early>::Fate::twice:
      ++counters_.came_twice;
      return;
    case InOrder<Early>::Fate::beyond:
      return end("the peer sent more than it may");
  }
  while (!ended_) {
    auto next = order_.take_next();
    if (!next) break;
    deliver(next->head, std::move(next->body));
  }
  stir();
}

bool BondedStream::Core::take_seen(std::uint64_t number) {
  if (bond_.keeps_any_up_to(number)) {
    for (const auto& link : links_) {
      if (link != nullptr) link->tcp->own(number);
    }
  }
  return bond_.seen(number, [this](BondMessage& message) { release(static_cast<Out&>(message)); });
}

void BondedStream::Core::deliver(const StreamHead& head, Buffer body) {
  if (is_answer(head) && is_unseen(head.sequence)) return end("the peer answered what it has not seen");
  StreamHead plain = head;
  plain.number = plain.seen = 0;
  receiver_->on_message(plain, std::move(body));
}

bool BondedStream::Core::is_unseen(std::uint64_t sequence) const {
  bool found = false;
  bond_.each_kept([&found, sequence](const BondMessage& message) {
    const StreamHead& head = static_cast<const Out&>(message).head;
    found = found || (head.sequence == sequence && asks_for_answer(head));
  });
  return found;
}

// ---- whether links live --------------------------------------------------------------------------------------------

void BondedStream::Core::stir() {
  if (!watching_ && wants_looks()) watch();
}

void BondedStream::Core::watch() {
  if (ended_ || alarm_ == nullptr) return;
  watching_ = wants_looks();
  alarm_->set(shard_.clock().now() + (watching_ ? bond_.look_interval() : bond_.idle_interval()));
}

void BondedStream::Core::look() {
  if (ended_) return;
  const auto alive = shared_from_this();
  old_links_.clear();
  std::array<Bond::Sight, stream_links_max> sights;
  for (const auto& link : links_) {
    if (link == nullptr) continue;
    const TcpStream::Progress progress = link->tcp->progress();
    sights[link->index] = {.acknowledged_bytes = progress.acknowledged_bytes, .round_trip = progress.round_trip};
  }
  const Bond::Judgement judgement = bond_.look(shard_.clock().now(), sights);
  for (std::size_t link = 0; link < links_.size(); ++link) {
    if ((judgement.give_up >> link & 1U) != 0) lost(*links_[link], "it carries nothing any more");
    if (ended_) return;
  }
  for (std::size_t link = 0; link < links_.size(); ++link) {
    if ((judgement.ask >> link & 1U) != 0 && bond_.is_up(link)) tell_link(link, true, ++questions_);
  }
  if (told_seen_ < order_.passed()) {
    const auto first = static_cast<std::size_t>(std::countr_zero(bond_.links()));
    tell_link(came_over_ < Bond::no_link && bond_.is_up(came_over_) ? came_over_ : first, false, 0);
  }
  watch();
}

// ---- the end -------------------------------------------------------------------------------------------------------

void BondedStream::Core::close() {
  receiver_ = nullptr;
  if (ended_) return;
  ended_ = true;
  if (alarm_ != nullptr) alarm_->cancel();
  for (auto& link : links_) {
    if (link == nullptr) continue;
    link->over = true;
    old_counters_[link->index] = link->tcp->counters();
    link->tcp->close();
    old_links_.push_back(std::move(link));
  }
  order_.clear();
  bond_.each_kept([this](BondMessage& message) { release(static_cast<Out&>(message)); });
}

// From a handler of the loop.
void BondedStream::Core::end(const std::string& why) {
  if (ended_) return;
  Receiver* const receiver = receiver_;
  close();
  if (receiver != nullptr) receiver->on_closed(why);
}

// From inside a call.
void BondedStream::Core::end_soon(std::string why) {
  Receiver* const receiver = receiver_;
  close();
  receiver_ = receiver;
  boost::asio::post(shard_.context(), [self = shared_from_this(), why = std::move(why)] {
    if (self->receiver_ != nullptr) std::exchange(self->receiver_, nullptr)->on_closed(why);
  });
}

BondCounters BondedStream::Core::counters() const {
  BondCounters all = counters_;
  all.up = bond_.links();
  for (std::size_t link = 0; link < links_.size(); ++link) {
    all.links[link] = links_[link] != nullptr ? links_[link]->tcp->counters() : old_counters_[link];
  }
  if (ended_) all.up = 0;
  return all;
}

// ---- the handle ----------------------------------------------------------------------------------------------------

BondedStream::BondedStream(Shard& shard, const BondOptions& options) : core_(std::make_shared<Core>(shard, options)) {
  core_->on_link = [this](std::size_t link, const std::string& why) {
    if (on_link) on_link(link, why);
  };
}

BondedStream::~BondedStream() {
  core_->on_link = nullptr;
  core_->close();
}

bool BondedStream::add_link(std::size_t link, std::unique_ptr<TcpStream> tcp) {
  return core_->add_link(link, std::move(tcp));
}

std::uint16_t BondedStream::version() const {
  return core_->version();
}

void BondedStream::start(Receiver& receiver) {
  core_->start(receiver);
}

void BondedStream::send(const StreamHead& head, std::span<const iovec> body) {
  core_->send(head, body);
}

void BondedStream::close() {
  core_->close();
}

bool BondedStream::ended() const {
  return core_->ended();
}

BondCounters BondedStream::counters() const {
  return core_->counters();
}

}  // namespace mpath::target::replication
