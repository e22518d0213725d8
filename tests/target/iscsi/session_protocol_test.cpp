// PDUs that are wrong, late, repeated, too large or out of order: each gets the answer that RFC 7143 names, and hurts
// nobody else.
#include "tests/target/iscsi/session_fixture.hpp"

namespace mpath::target::test {
namespace {

using Protocol = SessionTest;

TEST_F(Protocol, NopsAreEchoed) {
  serve();
  auto initiator = log_in();
  const Bytes data = pattern(333);
  for (const bool immediate : {false, true}) {
    const auto nop = initiator.nop(immediate);
    initiator.send(nop, data);
    const auto answer = initiator.expect<iscsi::NopIn>();
    EXPECT_EQ(answer.itt, nop.itt);
    EXPECT_EQ(answer.ttt, iscsi::reserved_tag);
    EXPECT_EQ(answer.data, data);
  }
}

TEST_F(Protocol, AnInitiatorThatAnswersNoPingIsDropped) {
  view.nop_interval_ms = 10;
  view.nop_timeout_ms = 50;
  serve();
  auto initiator = log_in();
  initiator.answer_pings = false;
  const auto ping = initiator.expect<iscsi::NopIn>();
  EXPECT_EQ(ping.itt, iscsi::reserved_tag);
  EXPECT_NE(ping.ttt, iscsi::reserved_tag);
  EXPECT_TRUE(initiator.closed());
}

// ---- the command window --------------------------------------------------------------------------------------------

TEST_F(Protocol, CommandsOutsideOfTheWindowAreIgnored) {
  serve();
  auto initiator = log_in_quietly();
  const std::uint32_t right = initiator.cmd_sn;
  for (const std::uint32_t wrong : {initiator.max_cmd_sn + 1, right - 1, right + 0x80000000U}) {
    auto command = initiator.command(scsi::read_cdb(0, 1), {.in = block});
    command.cmd_sn = wrong;
    initiator.send(command);
    EXPECT_TRUE(initiator.silent()) << wrong;
  }
  initiator.cmd_sn = right;
  EXPECT_EQ(initiator.read_of(initiator.command(scsi::read_cdb(0, 1), {.in = block})).status, scsi::Status::good);
}

TEST_F(Protocol, CommandsWaitForThoseBeforeThemAndComeOnce) {
  serve();
  auto initiator = log_in_quietly();
  const auto first = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  const auto second = initiator.command(scsi::read_cdb(1, 1), {.in = block});
  initiator.send(second);
  EXPECT_TRUE(initiator.silent());
  initiator.send(second);  // again: it is here already
  EXPECT_TRUE(initiator.silent());
  initiator.send(first);
  EXPECT_EQ(initiator.expect<iscsi::DataIn>().itt, first.itt);
  EXPECT_EQ(initiator.expect<iscsi::DataIn>().itt, second.itt);
  initiator.send(first);
  EXPECT_TRUE(initiator.silent());
}

TEST_F(Protocol, TheWindowShutsWhenItIsFull) {
  view.window = 4;
  serve();
  auto initiator = log_in_quietly();
  disk().device.hold = true;
  initiator.hold();
  for (unsigned index = 0; index < 6; ++index) {
    initiator.send(initiator.command(scsi::read_cdb(index, 1), {.in = block}));
  }
  initiator.release();
  disk().device.wait_for(4);
  EXPECT_TRUE(initiator.silent());  // the probe is immediate
  EXPECT_EQ(initiator.max_cmd_sn + 1, initiator.exp_cmd_sn);
  EXPECT_EQ(disk().device.held, 4U);
  await_on(shard(0), [&] { disk().device.let_go(); });
  for (unsigned index = 0; index < 4; ++index) static_cast<void>(initiator.expect<iscsi::DataIn>());
  EXPECT_TRUE(initiator.silent());  // the two that came too early were ignored
  EXPECT_EQ(initiator.max_cmd_sn + 1, initiator.exp_cmd_sn + 4);
}

TEST_F(Protocol, ATaskTagInUseIsRejected) {
  serve();
  auto initiator = log_in_quietly();
  disk().device.hold = true;
  const auto command = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  initiator.send(command);
  auto again = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  again.itt = command.itt;
  initiator.send(again);
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::task_in_progress);
  disk().device.wait_for(1);
  await_on(shard(0), [&] { disk().device.let_go(); });
  EXPECT_EQ(initiator.expect<iscsi::DataIn>().itt, command.itt);
  EXPECT_TRUE(initiator.silent());
}

// ---- data out ------------------------------------------------------------------------------------------------------

struct WrongData {
  const char* name;
  struct Part {
    std::uint32_t data_sn, offset, length;
    bool final;
  };
  std::vector<Part> parts;  // of the answer to an R2T for 1024 bytes at 0
  scsi::Sense sense;
};

class WrongDataOut : public SessionTest, public ::testing::WithParamInterface<WrongData> {};

TEST_P(WrongDataOut, FailsTheWriteAndLeavesTheDisk) {
  serve();
  poke(0, pattern(1024, 1));
  auto initiator = log_in_quietly();
  const Bytes data = pattern(4096, 2);
  initiator.send(initiator.command(scsi::write_cdb(0, 2), {.out = 1024}));
  const auto r2t = initiator.expect<iscsi::ReadyToTransfer>();
  for (const auto& part : GetParam().parts) {
    initiator.send(initiator.data_out(r2t, part.offset, part.length, part.data_sn, part.final),
                   std::span(data).first(part.length));
  }
  const auto response = initiator.expect<iscsi::ScsiResponse>();
  EXPECT_EQ(response.status, scsi::Status::check_condition);
  EXPECT_EQ(sense_in(response.data), GetParam().sense);
  EXPECT_EQ(peek(0, 1024), pattern(1024, 1));
  // The session is none the worse for it.
  EXPECT_EQ(initiator.write_of(initiator.command(scsi::write_cdb(0, 2), {.out = 1024}), data).status,
            scsi::Status::good);
}

constexpr scsi::Sense bad_order{scsi::SenseKey::aborted_command, 0x4b, 0x00};
constexpr scsi::Sense bad_amount{scsi::SenseKey::aborted_command, 0x0c, 0x0d};
constexpr scsi::Sense unexpected{scsi::SenseKey::aborted_command, 0x0c, 0x0c};
INSTANTIATE_TEST_SUITE_P(
    Protocol, WrongDataOut,
    ::testing::Values(WrongData{"DataSnTwice", {{0, 0, 512, false}, {0, 512, 512, true}}, bad_order},
                      WrongData{"DataSn27", {{27, 0, 1024, true}}, bad_order},
                      WrongData{"DataSnMinusOne", {{0xffffffff, 0, 1024, true}}, bad_order},
                      WrongData{"DataSnBackwards", {{1, 0, 512, false}, {0, 512, 512, true}}, bad_order},
                      WrongData{"OffsetTooFar", {{0, 512, 512, true}}, bad_order},
                      WrongData{"OffsetOutside", {{0, 4096, 512, true}}, bad_order},
                      WrongData{"OffsetHuge", {{0, 0xfffffe00, 512, true}}, bad_order},
                      WrongData{"TooMuch", {{0, 0, 1536, true}}, bad_amount},
                      WrongData{"TooLittle", {{0, 0, 512, true}}, bad_amount},
                      WrongData{"NoEnd", {{0, 0, 1024, false}}, bad_amount},
                      WrongData{"Nothing", {{0, 0, 0, true}}, bad_amount}),
    [](const auto& row) { return row.param.name; });

TEST_F(Protocol, DataThatWasNotAgreedFailsTheWrite) {
  parameters.initial_r2t = true;
  parameters.immediate_data = false;
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(block);
  const auto immediate =
      initiator.status_of(initiator.command(scsi::write_cdb(0, 1), {.out = block, .immediate_data = block}), data);
  EXPECT_EQ(sense_in(immediate.data), unexpected);
  const auto unasked =
      initiator.status_of(initiator.command(scsi::write_cdb(0, 1), {.out = block, .more_unasked = true}));
  EXPECT_EQ(sense_in(unasked.data), unexpected);
  EXPECT_TRUE(initiator.silent());
}

TEST_F(Protocol, MoreThanTheFirstBurstOrThanAnnouncedFailsTheWrite) {
  parameters.first_burst = 1024;
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(2048);
  const auto burst =
      initiator.status_of(initiator.command(scsi::write_cdb(0, 4), {.out = 2048, .immediate_data = 2048}), data);
  EXPECT_EQ(sense_in(burst.data), unexpected);
  const auto more = initiator.status_of(initiator.command(scsi::write_cdb(0, 1), {.out = 512, .immediate_data = 1024}),
                                        std::span(data).first(1024));
  EXPECT_EQ(sense_in(more.data), bad_amount);
}

TEST_F(Protocol, DataOfNobodyIsDroppedAndDataOfABurstThatIsNoneIsRejected) {
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(block);
  initiator.send(iscsi::DataOut{.final = true, .itt = 0x1234, .ttt = 1}, data);
  EXPECT_TRUE(initiator.silent());
  const auto command = initiator.command(scsi::write_cdb(0, 1), {.out = block});
  initiator.send(command);
  const auto r2t = initiator.expect<iscsi::ReadyToTransfer>();
  auto wrong = initiator.data_out(r2t, 0, block, 0, true);
  wrong.ttt = r2t.ttt + 1;
  initiator.send(wrong, data);
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::protocol_error);
  initiator.send(initiator.data_out(r2t, 0, block, 0, true), data);
  EXPECT_EQ(initiator.expect<iscsi::ScsiResponse>().status, scsi::Status::good);
}

// ---- PDUs that nobody may send -------------------------------------------------------------------------------------

TEST_F(Protocol, UnknownAndForeignOpcodesAreRejectedWithTheirHeader) {
  serve();
  auto initiator = log_in_quietly();
  for (const unsigned opcode : {0x1fU, 0x07U, 0x21U, 0x25U, 0x3fU}) {
    Bytes bhs = pattern(48, opcode);
    bhs[0] = static_cast<std::byte>(opcode);
    bhs[4] = std::byte{0};
    bhs[5] = bhs[6] = std::byte{0};
    bhs[7] = std::byte{10};
    initiator.send_pdu(bhs, {}, pattern(10));
    const auto reject = initiator.expect<iscsi::Reject>();
    EXPECT_EQ(reject.reason, iscsi::RejectReason::command_not_supported);
    EXPECT_EQ(reject.data, bhs);
  }
  EXPECT_TRUE(initiator.silent());
}

TEST_F(Protocol, ADataSegmentAboveTheLimitEndsTheConnection) {
  parameters.receive_segment_max = 8192;
  serve();
  auto other = log_in_quietly({.port = 2});
  auto initiator = log_in_quietly();
  auto command = initiator.command(scsi::write_cdb(0, 32), {.out = 16384, .immediate_data = 8196});
  initiator.keep_lengths = true;
  initiator.send(command);
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::protocol_error);
  EXPECT_TRUE(initiator.closed());
  EXPECT_TRUE(other.silent());
}

TEST_F(Protocol, ALoginRequestEndsTheConnection) {
  serve();
  auto initiator = log_in();
  initiator.send(iscsi::LoginRequest{.transit = true,
                                     .current = iscsi::Stage::operational,
                                     .next = iscsi::Stage::full_feature,
                                     .itt = 99,
                                     .cmd_sn = initiator.cmd_sn});
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::protocol_error);
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Protocol, TooManyImmediateCommandsAreRejected) {
  serve();
  auto initiator = log_in_quietly();
  disk().device.hold = true;
  initiator.hold();
  for (unsigned index = 0; index < 65; ++index) {
    initiator.send(initiator.command(scsi::read_cdb(0, 1), {.in = block, .immediate = true}));
  }
  initiator.release();
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::too_many_immediate);
  disk().device.wait_for(64);
}

TEST_F(Protocol, ATornConnectionEndsItsSessionAndNoOther) {
  serve();
  auto other = log_in_quietly({.port = 2});
  auto initiator = log_in_quietly();
  const Bytes half = pattern(20);
  initiator.send(initiator.command(scsi::write_cdb(0, 8), {.out = 4096}));
  static_cast<void>(initiator.expect<iscsi::ReadyToTransfer>());
  initiator.send_bytes(half);
  initiator.close();
  while (session_count() > 1) {
  }
  EXPECT_TRUE(other.silent());
}

// ---- text and logout -----------------------------------------------------------------------------------------------

TEST_F(Protocol, ANormalSessionHearsOfItsOwnTargetOnly) {
  serve();
  auto initiator = log_in();
  const auto ask = [&](std::string value) {
    const iscsi::KeyValues keys{{"SendTargets", std::move(value)}, {"X-mpath.test", "1"}};
    initiator.send(initiator.text(), iscsi::encode_text(keys));
    const auto answer = initiator.expect<iscsi::TextResponse>();
    EXPECT_TRUE(answer.final);
    EXPECT_EQ(answer.ttt, iscsi::reserved_tag);
    return *iscsi::decode_text(answer.data);
  };
  const auto own = ask("");
  ASSERT_NE(iscsi::find(own, "X-mpath.test"), nullptr);
  EXPECT_EQ(*iscsi::find(own, "X-mpath.test"), "NotUnderstood");
  const auto everything = ask("All");
  ASSERT_NE(iscsi::find(everything, "SendTargets"), nullptr);
  EXPECT_EQ(*iscsi::find(everything, "SendTargets"), "Reject");
}

TEST_F(Protocol, LongTextIsGivenInPartsAndTakenInParts) {
  parameters.send_segment_max = 512;
  for (unsigned index = 0; index < 60; ++index) {
    view.groups.front().portals.push_back(
        {.host = "10.0.0." + std::to_string(index + 1), .port = 3260, .portal_group = 1});
  }
  serve();
  auto initiator = log_in({.discovery = true});
  const Bytes request = iscsi::encode_text(iscsi::KeyValues{{"SendTargets", "All"}});
  auto first = initiator.text();
  first.final = false;
  first.continued = true;
  initiator.send(first, std::span(request).first(5));
  auto answer = initiator.expect<iscsi::TextResponse>();
  EXPECT_FALSE(answer.final);
  EXPECT_TRUE(answer.data.empty());
  auto second = initiator.text();
  second.ttt = answer.ttt;
  initiator.send(second, std::span(request).subspan(5));
  Bytes text;
  for (;;) {
    answer = initiator.expect<iscsi::TextResponse>();
    EXPECT_LE(answer.data.size(), 512U);
    text.insert(text.end(), answer.data.begin(), answer.data.end());
    if (answer.final) break;
    EXPECT_TRUE(answer.continued);
    auto more = initiator.text();
    more.ttt = answer.ttt;
    initiator.send(more);
  }
  const auto targets = iscsi::parse_send_targets(*iscsi::decode_text(text));
  ASSERT_TRUE(targets);
  ASSERT_EQ(targets->size(), 1U);
  EXPECT_EQ(targets->front().addresses.size(), 60U);

  auto stray = initiator.text();
  stray.ttt = 77;
  initiator.send(stray);
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::protocol_error);
  initiator.send(initiator.command(scsi::test_unit_ready_cdb()));
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::command_not_supported);
}

TEST_F(Protocol, LogoutClosesTheSessionAfterItsAnswer) {
  serve();
  auto initiator = log_in_quietly();
  initiator.send(initiator.logout(iscsi::LogoutReason::remove_for_recovery));
  EXPECT_EQ(initiator.expect<iscsi::LogoutResponse>().result, iscsi::LogoutResult::recovery_not_supported);
  initiator.send(initiator.logout(iscsi::LogoutReason::close_connection, 9));
  EXPECT_EQ(initiator.expect<iscsi::LogoutResponse>().result, iscsi::LogoutResult::no_such_cid);
  initiator.send(initiator.logout(iscsi::LogoutReason::close_session));
  EXPECT_EQ(initiator.expect<iscsi::LogoutResponse>().result, iscsi::LogoutResult::closed);
  EXPECT_TRUE(initiator.closed());
  while (session_count() > 0) {
  }
}

TEST_F(Protocol, LogoutOfTheOnlyConnectionEndsTheSession) {
  serve();
  auto initiator = log_in_quietly();
  initiator.send(initiator.logout(iscsi::LogoutReason::close_connection, 0));
  EXPECT_EQ(initiator.expect<iscsi::LogoutResponse>().result, iscsi::LogoutResult::closed);
  EXPECT_TRUE(initiator.closed());
  while (session_count() > 0) {
  }
}

// ---- sessions ------------------------------------------------------------------------------------------------------

TEST_F(Protocol, TheSameInitiatorPortReplacesItsSession) {
  serve();
  auto first = log_in_quietly();
  auto other = log_in_quietly({.port = 2});
  auto second = log_in_quietly();
  EXPECT_NE(first.tsih, second.tsih);
  static_cast<void>(first.next());  // the farewell
  EXPECT_TRUE(first.closed());
  EXPECT_TRUE(other.silent());
  EXPECT_TRUE(second.silent());
  EXPECT_EQ(session_count(), 2U);
}

TEST_F(Protocol, SessionsAreLimitedAndUnknownOnesCannotBeJoined) {
  view.sessions_max = 1;
  serve();
  auto first = log_in_quietly();
  EXPECT_EQ(try_log_in({.port = 2}).error(), iscsi::LoginStatus::out_of_resources);
  EXPECT_EQ(try_log_in({.tsih = 999, .cid = 1}).error(), iscsi::LoginStatus::session_does_not_exist);
  EXPECT_EQ(try_log_in({.tsih = first.tsih, .cid = 1}).error(), iscsi::LoginStatus::too_many_connections);
}

TEST_F(Protocol, AdministratorsDropSessionsAndAskForLogout) {
  serve();
  auto initiator = log_in_quietly();
  EXPECT_TRUE(run(sessions->disconnect(status().sid)));
  EXPECT_EQ(initiator.expect<iscsi::AsyncMessage>().event, iscsi::AsyncEvent::session_drop);
  EXPECT_TRUE(initiator.closed());
  EXPECT_FALSE(run(sessions->disconnect(77)));
  auto second = log_in_quietly();
  std::thread leaver([&] {
    const auto message = second.expect<iscsi::AsyncMessage>();
    EXPECT_EQ(message.event, iscsi::AsyncEvent::logout_request);
    EXPECT_EQ(message.parameter3, 20);
    second.send(second.logout(iscsi::LogoutReason::close_session));
    EXPECT_EQ(second.expect<iscsi::LogoutResponse>().result, iscsi::LogoutResult::closed);
  });
  const std::string name = target_name;
  run_void(sessions->log_out(name, std::chrono::seconds(20)));
  leaver.join();
  EXPECT_EQ(session_count(), 0U);
}

TEST_F(Protocol, NewUnitsAreReachedAndOldOnesHearOfThem) {
  add_disk(0);
  add_disk(1, 1);
  const auto both = view.luns;
  view.luns.pop_back();
  serve();
  auto initiator = log_in_quietly();
  view.luns = both;
  run_void(sessions->update(publish()));
  initiator.skip_async = true;
  const auto changed = initiator.read_of(initiator.command(scsi::read_cdb(0, 1), {.in = block}));
  const auto sense = scsi::decode_sense(changed.sense);
  ASSERT_TRUE(sense);
  EXPECT_EQ(sense->sense, scsi::sense::luns_changed);
  quiet(initiator);
  EXPECT_EQ(initiator.read_of(initiator.command(scsi::read_cdb(0, 1), {.in = block, .lun = 1})).status,
            scsi::Status::good);
  view.luns.erase(view.luns.begin());
  run_void(sessions->update(publish()));
  const auto gone = initiator.read_of(initiator.command(scsi::read_cdb(0, 1), {.in = block}));
  const auto why = scsi::decode_sense(gone.sense);
  ASSERT_TRUE(why);
  EXPECT_EQ(why->sense, scsi::sense::lun_not_supported);
}

}  // namespace
}  // namespace mpath::target::test
