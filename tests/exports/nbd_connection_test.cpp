#include "exports/nbd_connection.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <numeric>

#include "tests/support/allocation_counter.hpp"
#include "tests/exports/ram_device.hpp"

namespace mpath {
namespace {

using nbd::Command;
using nbd::Error;
using test::RamDevice;

constexpr std::uint64_t MiB = 1 << 20;

nbd::Bytes pattern(std::size_t size, unsigned seed = 1) {
  nbd::Bytes bytes(size);
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::byte& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

// One or two connections, their device, and the clients' ends, all on the thread of the test: what the loop does next
// is decided by turn().
class Connection : public ::testing::Test {
 protected:
  struct Client {
    UniqueFd socket;
    std::unique_ptr<NbdConnection> connection;
    bool ended = false;
    error_code why;
  };

  ~Connection() override {
    device.hold = false;
    device.release_all();
    for (auto& client : clients) {
      if (client->connection) client->connection->abort({});
      client->socket.reset();
    }
    turn();
    clients.clear();
    EXPECT_EQ(pool.bytes_out(), 0u) << "a payload buffer was lost";
    EXPECT_EQ(budget.requests(), 0u);
    EXPECT_EQ(budget.bytes(), 0u);
  }

  Client& connect(const NbdRules& rules = {}, const NbdConnectionLimits& limits = {}) {
    int ends[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    Client& client = *clients.emplace_back(std::make_unique<Client>());
    client.socket.reset(ends[0]);
    const NbdConnectionHome home{.context = context, .buffers = pool, .device = device, .budget = budget};
    client.connection = std::make_unique<NbdConnection>(UniqueFd(ends[1]), home, rules, limits,
                                                        [&client](NbdConnection&, error_code why) {
                                                          EXPECT_FALSE(client.ended) << "ended twice";
                                                          client.ended = true;
                                                          client.why = why;
                                                        });
    client.connection->start();
    return client;
  }

  // Runs whatever is ready.
  void turn() {
    context.restart();
    context.poll();
  }

  void send(Client& client, std::span<const std::byte> bytes) {
    for (int tries = 0; !bytes.empty() && tries < 100'000; ++tries) {
      const ssize_t sent = ::send(client.socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) bytes = bytes.subspan(static_cast<std::size_t>(sent));
      ASSERT_TRUE(sent > 0 || errno == EAGAIN);
      turn();
    }
    ASSERT_TRUE(bytes.empty()) << "the server does not read";
  }
  static nbd::Bytes encoded(const nbd::Request& request, std::span<const std::byte> payload = {}) {
    nbd::Bytes bytes(nbd::request_bytes);
    nbd::encode_request(request, std::span(bytes).first<nbd::request_bytes>());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
  }
  void ask(Client& client, const nbd::Request& request, std::span<const std::byte> payload = {}) {
    send(client, encoded(request, payload));
  }

  // What has come, without waiting beyond what the loop can do at once.
  nbd::Bytes received(Client& client, std::size_t wanted, std::size_t step = 1 << 20) {
    nbd::Bytes bytes;
    for (int idle = 0; bytes.size() < wanted && idle < 50;) {
      turn();
      const std::size_t had = bytes.size();
      bytes.resize(had + std::min(step, wanted - had));
      const ssize_t got = ::recv(client.socket.get(), bytes.data() + had, bytes.size() - had, 0);
      bytes.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
      if (got == 0) break;
      idle = got > 0 ? 0 : idle + 1;
    }
    return bytes;
  }
  nbd::SimpleReply reply(Client& client) {
    const nbd::Bytes bytes = received(client, nbd::simple_reply_bytes);
    if (bytes.size() != nbd::simple_reply_bytes) {
      ADD_FAILURE() << "no reply came";
      return {};
    }
    return nbd::decode_simple_reply(std::span(bytes).first<nbd::simple_reply_bytes>()).value();
  }
  bool silent(Client& client) { return received(client, 1).empty(); }
  bool at_eof(Client& client) {
    turn();
    std::byte byte;
    return ::recv(client.socket.get(), &byte, 1, 0) == 0;
  }
  std::pair<nbd::ChunkHeader, nbd::Bytes> chunk(Client& client) {
    const nbd::Bytes bytes = received(client, nbd::chunk_header_bytes);
    if (bytes.size() != nbd::chunk_header_bytes) {
      ADD_FAILURE() << "no chunk came";
      return {};
    }
    const auto header = nbd::decode_chunk_header(std::span(bytes).first<nbd::chunk_header_bytes>()).value();
    return {header, received(client, header.length)};
  }

  boost::asio::io_context context{1};
  BufferPool pool;
  RamDevice device{"disk", RamDevice::all_features(64 * MiB)};
  NbdBudget budget{{.requests_max = 4096, .bytes_max = 128 * MiB}};
  std::vector<std::unique_ptr<Client>> clients;
};

nbd::Request read_of(std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) {
  return {.command = Command::read, .cookie = cookie, .offset = offset, .length = length};
}
nbd::Request write_of(std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) {
  return {.command = Command::write, .cookie = cookie, .offset = offset, .length = length};
}

TEST_F(Connection, ReadsWhatWasWritten) {
  Client& client = connect();
  const nbd::Bytes data = pattern(8192);
  ask(client, write_of(1, 4096, 8192), data);
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::ok, .cookie = 1}));
  ask(client, read_of(2, 4096, 8192));
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::ok, .cookie = 2}));
  EXPECT_EQ(received(client, 8192), data);
}

TEST_F(Connection, AnswersReadsInOneChunkWhenStructured) {
  Client& client = connect({.structured_replies = true});
  const nbd::Bytes data = pattern(65536);
  ask(client, write_of(1, 0, 65536), data);
  EXPECT_EQ(reply(client).cookie, 1u);
  nbd::Request request = read_of(7, 512, 4096);
  request.flags = nbd::command_flag::df;
  ask(client, request);
  const auto [header, payload] = chunk(client);
  EXPECT_EQ(header,
            (nbd::ChunkHeader{
                .flags = nbd::chunk_flag::done, .type = nbd::ChunkType::offset_data, .cookie = 7, .length = 4096 + 8}));
  ASSERT_EQ(payload.size(), 4096u + 8);
  EXPECT_EQ(nbd::decode_offset(std::span(payload).first<8>()), 512u);
  EXPECT_TRUE(std::equal(payload.begin() + 8, payload.end(), data.begin() + 512));
}

TEST_F(Connection, AnswersInOrderOfCompletion) {
  Client& client = connect();
  device.hold = true;
  for (std::uint64_t i = 0; i < 4; ++i) ask(client, {.command = Command::flush, .cookie = i});
  ASSERT_EQ(device.held.size(), 4u);
  for (const std::size_t index : {2, 0, 1, 0}) device.release(index);
  for (const std::uint64_t cookie : {2, 0, 3, 1}) EXPECT_EQ(reply(client).cookie, cookie);
}

TEST_F(Connection, TakesRequestsThatComeByteByByte) {
  Client& client = connect();
  const nbd::Bytes data = pattern(1024);
  nbd::Bytes stream = encoded(write_of(1, 0, 1024), data);
  const nbd::Bytes second = encoded(read_of(2, 0, 1024));
  stream.insert(stream.end(), second.begin(), second.end());
  for (const std::byte& byte : stream) send(client, {&byte, 1});
  EXPECT_EQ(reply(client).cookie, 1u);
  EXPECT_EQ(reply(client).cookie, 2u);
  EXPECT_EQ(received(client, 1024), data);
}

TEST_F(Connection, CutAtAnyPlaceAStreamOfMixedSizesArrivesWhole) {
  nbd::Bytes stream;
  std::uint64_t offset = 0;
  for (const std::uint32_t size : {512u, 20480u, 4096u, 65536u, 16384u, 512u}) {
    const nbd::Bytes part = encoded(write_of(offset, offset, size), pattern(size, size));
    stream.insert(stream.end(), part.begin(), part.end());
    offset += size;
  }
  for (const std::size_t cut : {1u, 27u, 28u, 29u, 540u, 541u, 567u, 568u, 600u, 21000u, 21044u, 25000u, 90000u}) {
    std::memset(device.memory(), 0, offset);
    Client& client = connect();
    send(client, std::span(stream).first(cut));
    turn();
    send(client, std::span(stream).subspan(cut));
    std::uint64_t at = 0;
    for (const std::uint32_t size : {512u, 20480u, 4096u, 65536u, 16384u, 512u}) {
      EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::ok, .cookie = at})) << "cut at " << cut;
      const nbd::Bytes data = pattern(size, size);
      EXPECT_TRUE(std::equal(data.begin(), data.end(), device.memory() + at)) << "cut at " << cut;
      at += size;
    }
  }
}

TEST_F(Connection, ReceivesLargePayloadsStraightIntoTheirBuffers) {
  Client& client = connect();
  const int buffer = 4 << 20;
  ::setsockopt(client.socket.get(), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  const nbd::Bytes data = pattern(MiB);
  for (int i = 0; i < 8; ++i) {
    ask(client, write_of(0, 0, MiB), data);
    EXPECT_EQ(reply(client).error, Error::ok);
  }
  EXPECT_TRUE(std::equal(data.begin(), data.end(), device.memory()));
  // Header and part of the payload, then the rest: the socket's buffer, not staging, sets the number of calls.
  EXPECT_LE(client.connection->counters().receives, 8u * 12);
}

TEST_F(Connection, SendsOnWhenTheClientReadsSlowly) {
  Client& client = connect();
  const nbd::Bytes data = pattern(4 * MiB);
  std::copy(data.begin(), data.end(), device.memory());
  for (std::uint64_t i = 0; i < 8; ++i) ask(client, read_of(i, i * MiB / 2, MiB / 2));
  for (std::uint64_t i = 0; i < 8; ++i) {
    const nbd::Bytes bytes = received(client, nbd::simple_reply_bytes + MiB / 2, 7919);
    ASSERT_EQ(bytes.size(), nbd::simple_reply_bytes + MiB / 2);
    EXPECT_EQ(nbd::decode_simple_reply(std::span(bytes).first<16>())->cookie, i);
    EXPECT_TRUE(std::equal(bytes.begin() + 16, bytes.end(), data.begin() + static_cast<std::ptrdiff_t>(i * MiB / 2)));
  }
  EXPECT_EQ(client.connection->in_flight(), 0u);
}

TEST_F(Connection, StopsReadingWhenItHasItsShareOfRequests) {
  Client& client = connect({}, {.requests_max = 4});
  device.hold = true;
  for (std::uint64_t i = 0; i < 10; ++i) ask(client, read_of(i, 0, 512));
  EXPECT_EQ(device.held.size(), 4u);
  EXPECT_TRUE(client.connection->paused());
  for (std::uint64_t i = 0; i < 10; ++i) {
    ASSERT_FALSE(device.held.empty());
    device.release();
    EXPECT_EQ(received(client, 16 + 512).size(), 16u + 512);
  }
  EXPECT_FALSE(client.connection->paused());
}

TEST_F(Connection, RepliesThatAreNotTakenCountAsInFlight) {
  Client& client = connect({}, {.bytes_max = 2 * MiB});
  for (std::uint64_t i = 0; i < 16; ++i) ask(client, read_of(i, 0, MiB));
  turn();
  EXPECT_TRUE(client.connection->paused());
  EXPECT_LE(pool.bytes_out(), 3 * MiB);
  for (std::uint64_t i = 0; i < 16; ++i) EXPECT_EQ(received(client, 16 + MiB).size(), 16 + MiB);
}

TEST_F(Connection, ARequestLargerThanTheShareGetsThroughAlone) {
  Client& client = connect({}, {.bytes_max = MiB});
  ask(client, read_of(1, 0, 4 * MiB));
  EXPECT_EQ(received(client, 16 + 4 * MiB).size(), 16 + 4 * MiB);
}

TEST_F(Connection, ConnectionsOfOneExportShareItsBudget) {
  budget = NbdBudget({.requests_max = 4, .bytes_max = 128 * MiB});
  Client& first = connect();
  Client& second = connect();
  device.hold = true;
  for (std::uint64_t i = 0; i < 4; ++i) ask(first, {.command = Command::flush, .cookie = i});
  for (std::uint64_t i = 0; i < 4; ++i) ask(second, {.command = Command::flush, .cookie = i});
  turn();
  EXPECT_EQ(device.held.size(), 4u);
  EXPECT_TRUE(second.connection->paused());
  device.release_all();
  turn();
  device.release_all();
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(reply(first).cookie, i);
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(reply(second).cookie, i);
}

TEST_F(Connection, SkipsThePayloadOfARefusedWrite) {
  Client& client = connect();
  ask(client, write_of(1, 64 * MiB, 512), pattern(512));
  ask(client, write_of(2, 100, 512), pattern(512));
  ask(client, write_of(3, 0, 33 * MiB), pattern(33 * MiB));
  ask(client, write_of(4, 0, 512), pattern(512));
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::nospc, .cookie = 1}));
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::inval, .cookie = 2}));
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::inval, .cookie = 3}));
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::ok, .cookie = 4}));
  EXPECT_EQ(device.submitted, 1u);
}

TEST_F(Connection, AnswersARefusedWriteOnlyBehindItsPayload) {
  Client& client = connect();
  const nbd::Bytes data = pattern(512);
  ask(client, write_of(1, 64 * MiB, 512), std::span(data).first(511));
  EXPECT_TRUE(silent(client)) << "libnbd does not know a request yet that it has not sent in full";
  send(client, std::span(data).last(1));
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::nospc, .cookie = 1}));
}

TEST_F(Connection, DropsARefusedWriteWhosePayloadNeverCame) {
  Client& client = connect();
  ask(client, write_of(1, 64 * MiB, 512), pattern(100));
  client.socket.reset();
  turn();
  EXPECT_TRUE(client.ended);
}

TEST_F(Connection, LeavesAClientThatKeepsToNoLimit) {
  Client& client = connect();
  ask(client, write_of(1, 0, 0xffffffff));
  EXPECT_TRUE(at_eof(client));
  EXPECT_TRUE(client.ended);
  EXPECT_EQ(client.why, std::errc::message_size);
}

TEST_F(Connection, LeavesAClientThatTalksGarbage) {
  Client& client = connect();
  send(client, nbd::Bytes(nbd::request_bytes, std::byte{'x'}));
  EXPECT_TRUE(at_eof(client));
  EXPECT_TRUE(client.ended);
  EXPECT_TRUE(client.why);
}

TEST_F(Connection, AnswersWhatWasTakenBeforeADisconnect) {
  Client& client = connect();
  device.hold = true;
  ask(client, read_of(1, 0, 512));
  ask(client, {.command = Command::disconnect});
  ask(client, read_of(2, 0, 512));
  turn();
  EXPECT_FALSE(client.ended);
  device.release_all();
  EXPECT_EQ(received(client, 2000).size(), 16u + 512) << "nothing behind a disconnect is answered";
  EXPECT_TRUE(client.ended);
  EXPECT_FALSE(client.why);
}

TEST_F(Connection, AnswersWhatWasTakenBeforeTheClientsHalfClose) {
  Client& client = connect();
  device.hold = true;
  ask(client, {.command = Command::flush, .cookie = 9});
  ::shutdown(client.socket.get(), SHUT_WR);
  turn();
  device.release_all();
  EXPECT_EQ(reply(client).cookie, 9u);
  EXPECT_TRUE(at_eof(client));
}

TEST_F(Connection, WaitsForTheDeviceWhenTheClientVanishes) {
  Client& client = connect();
  device.hold = true;
  for (std::uint64_t i = 0; i < 8; ++i)
    ask(client, i % 2 == 0 ? read_of(i, 0, 65536) : write_of(i, 0, 512), pattern(i % 2 == 0 ? 0 : 512));
  client.socket.reset();
  turn();
  EXPECT_FALSE(client.ended);
  while (!device.held.empty()) {
    EXPECT_FALSE(client.ended);
    device.release();
    turn();
  }
  EXPECT_TRUE(client.ended);
  EXPECT_EQ(pool.bytes_out(), 0u);
}

TEST_F(Connection, DropsAWriteWhosePayloadNeverCame) {
  Client& client = connect();
  ask(client, write_of(1, 0, 65536), pattern(1000));
  client.socket.reset();
  turn();
  EXPECT_TRUE(client.ended);
  EXPECT_EQ(client.why, std::errc::connection_reset);
  EXPECT_EQ(device.submitted, 0u);
  EXPECT_EQ(pool.bytes_out(), 0u);
}

TEST_F(Connection, AbortedItStillWaitsForTheDevice) {
  Client& client = connect();
  device.hold = true;
  ask(client, read_of(1, 0, 512));
  client.connection->abort(std::make_error_code(std::errc::timed_out));
  turn();
  EXPECT_FALSE(client.ended);
  device.release_all();
  turn();
  EXPECT_TRUE(client.ended);
  EXPECT_EQ(client.why, std::errc::timed_out);
}

TEST_F(Connection, DrainedItFinishesWhatItTookAndRefusesTheRest) {
  Client& client = connect();
  device.hold = true;
  ask(client, {.command = Command::flush, .cookie = 1});
  client.connection->drain();
  ask(client, read_of(2, 0, 512));
  ask(client, write_of(3, 0, 512), pattern(512));
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::shutdown, .cookie = 2}));
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::shutdown, .cookie = 3}));
  device.release_all();
  EXPECT_EQ(reply(client), (nbd::SimpleReply{.error = Error::ok, .cookie = 1}));
  EXPECT_TRUE(at_eof(client));
  EXPECT_FALSE(client.ended) << "the client may still be sending";
  ask(client, read_of(4, 0, 512));
  client.socket.reset();
  turn();
  EXPECT_TRUE(client.ended);
  EXPECT_EQ(device.submitted, 1u);
}

TEST_F(Connection, DrainedWhenIdleItClosesItsSide) {
  Client& client = connect();
  turn();
  client.connection->drain();
  EXPECT_TRUE(at_eof(client));
  client.socket.reset();
  turn();
  EXPECT_TRUE(client.ended);
}

TEST_F(Connection, ServesWhatCameBehindTheHandshake) {
  Client& client = connect();
  const nbd::Bytes early = encoded(read_of(5, 0, 512));
  client.connection->abort({});
  turn();
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
  client.socket.reset(ends[0]);
  client.ended = false;
  client.connection = std::make_unique<NbdConnection>(
      UniqueFd(ends[1]), NbdConnectionHome{.context = context, .buffers = pool, .device = device, .budget = budget},
      NbdRules{}, NbdConnectionLimits{}, [&](NbdConnection&, error_code) { client.ended = true; });
  client.connection->start(std::span(early).first(20));
  send(client, std::span(early).subspan(20));
  EXPECT_EQ(reply(client).cookie, 5u);
}

struct StatusRow {
  const char* name;
  BlockStatus status;
  Error error;
};
class ConnectionStatus : public Connection, public ::testing::WithParamInterface<StatusRow> {};
TEST_P(ConnectionStatus, IsToldToTheClient) {
  device.fail_with = GetParam().status;
  Client& simple = connect();
  ask(simple, read_of(1, 0, 512));
  EXPECT_EQ(reply(simple).error, GetParam().error);
  Client& structured = connect({.structured_replies = true});
  ask(structured, read_of(2, 0, 512));
  const auto [header, payload] = chunk(structured);
  EXPECT_EQ(header.type, nbd::ChunkType::error);
  EXPECT_EQ(header.flags, nbd::chunk_flag::done);
  EXPECT_EQ(nbd::decode_error(header.type, payload)->error, GetParam().error);
  ask(structured, write_of(3, 0, 512), pattern(512));
  EXPECT_EQ(reply(structured), (nbd::SimpleReply{.error = GetParam().error, .cookie = 3}));
  EXPECT_EQ(structured.connection->counters().errors, 2u);
}
INSTANTIATE_TEST_SUITE_P(Every, ConnectionStatus,
                         ::testing::Values(StatusRow{"io_error", BlockStatus::io_error, Error::io},
                                           StatusRow{"invalid", BlockStatus::invalid, Error::inval},
                                           StatusRow{"no_space", BlockStatus::no_space, Error::nospc},
                                           StatusRow{"read_only", BlockStatus::read_only, Error::perm},
                                           StatusRow{"not_supported", BlockStatus::not_supported, Error::notsup},
                                           StatusRow{"conflict", BlockStatus::conflict, Error::perm},
                                           StatusRow{"shutdown", BlockStatus::shutdown, Error::shutdown}),
                         [](const auto& row) { return row.param.name; });

class ConnectionExtents : public Connection {
 protected:
  std::vector<nbd::Extent> status(Client& client, std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0) {
    ask(client, {.flags = flags, .command = Command::block_status, .cookie = 1, .offset = offset, .length = length});
    const auto [header, payload] = chunk(client);
    EXPECT_EQ(header.type, nbd::ChunkType::block_status);
    const auto decoded = nbd::decode_block_status(payload);
    EXPECT_TRUE(decoded && decoded->context_id == nbd_base_allocation_id);
    return decoded ? decoded->extents : std::vector<nbd::Extent>{};
  }
  static constexpr std::uint32_t hole = nbd::extent_flag::hole | nbd::extent_flag::zero;
  NbdRules rules{.structured_replies = true, .base_allocation = true};
};

TEST_F(ConnectionExtents, TellDataFromHoles) {
  Client& client = connect(rules);
  ask(client, write_of(9, 65536, 65536), pattern(65536));
  EXPECT_EQ(reply(client).cookie, 9u);
  EXPECT_EQ(status(client, 0, 4 * 65536), (std::vector<nbd::Extent>{{65536, hole}, {65536, 0}, {2 * 65536, hole}}));
}

TEST_F(ConnectionExtents, StopAtTheFirstWhenOneIsAskedFor) {
  Client& client = connect(rules);
  ask(client, write_of(9, 65536, 65536), pattern(65536));
  EXPECT_EQ(reply(client).cookie, 9u);
  EXPECT_EQ(status(client, 512, 4 * 65536, nbd::command_flag::req_one),
            (std::vector<nbd::Extent>{{65536 - 512, hole}}));
}

TEST_F(ConnectionExtents, NeverSayMoreThanWasAsked) {
  Client& client = connect(rules);
  EXPECT_EQ(status(client, 0, 512), (std::vector<nbd::Extent>{{512, hole}}));
}

TEST_F(ConnectionExtents, AreAllDataWhenTheDeviceCannotTell) {
  BlockLimits limits = device.limits();
  limits.can_report_extents = false;
  device.change_limits(limits);
  Client& client = connect(rules);
  EXPECT_EQ(status(client, 0, MiB), (std::vector<nbd::Extent>{{MiB, 0}}));
}

TEST_F(ConnectionExtents, FailWithTheDevice) {
  device.fail_with = BlockStatus::io_error;
  Client& client = connect(rules);
  ask(client, {.command = Command::block_status, .cookie = 1, .offset = 0, .length = 512});
  EXPECT_EQ(chunk(client).first.type, nbd::ChunkType::error);
}

// Batches of 32 requests of 4 KiB, as a client at queue depth 32 sends them.
class ConnectionCost : public Connection, public ::testing::WithParamInterface<bool> {
 protected:
  void batches(Client& client, int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(::send(client.socket.get(), stream.data(), stream.size(), 0), static_cast<ssize_t>(stream.size()));
      std::size_t missing = answer_bytes;
      for (int tries = 0; missing > 0 && tries < 100; ++tries) {
        turn();
        const ssize_t got = ::recv(client.socket.get(), sink.data(), sink.size(), 0);
        if (got > 0) missing -= static_cast<std::size_t>(got);
      }
      ASSERT_EQ(missing, 0u);
    }
  }
  void prepare(bool reads) {
    for (std::uint64_t i = 0; i < 32; ++i) {
      const nbd::Bytes part =
          reads ? encoded(read_of(i, i * 4096, 4096)) : encoded(write_of(i, i * 4096, 4096), pattern(4096));
      stream.insert(stream.end(), part.begin(), part.end());
    }
    answer_bytes = 32 * (16 + (reads ? 4096 : 0));
  }
  nbd::Bytes stream;
  nbd::Bytes sink = nbd::Bytes(1 << 20);
  std::size_t answer_bytes = 0;
};

TEST_P(ConnectionCost, AllocatesNothingPerRequestInSteadyState) {
  Client& client = connect();
  prepare(GetParam());
  batches(client, 8);
  const std::uint64_t blocks = pool.system_allocations();
  const std::uint64_t before = test::allocations();
  batches(client, 100);
  EXPECT_EQ(test::allocations() - before, 0u);
  EXPECT_EQ(pool.system_allocations() - blocks, 0u);
}

TEST_P(ConnectionCost, MakesFewSystemCalls) {
  Client& client = connect();
  prepare(GetParam());
  batches(client, 100);
  const NbdCounters& counters = client.connection->counters();
  ASSERT_EQ(counters.requests, 3200u);
  // Each wake of the loop may cost an epoll_wait and an epoll_ctl.
  const double calls = static_cast<double>(counters.receives + counters.sends + 2 * counters.wakes) / 3200;
  EXPECT_LE(calls, 0.3);
}
INSTANTIATE_TEST_SUITE_P(Depth32, ConnectionCost, ::testing::Values(true, false),
                         [](const auto& row) { return row.param ? "reads" : "writes"; });

}  // namespace
}  // namespace mpath
